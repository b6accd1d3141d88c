"""A policy update in the manner of PPO and GRPO.

Each state is tried several times, and the advantage of an action is its reward within
that group. Illegal actions are masked. The ratio to the policy that sampled is clipped;
k3 keeps the policy near its reference, with the log-ratio clipped and with the gradient
of KL(policy ‖ reference); entropy is rewarded.
"""

import jax
import jax.numpy as jnp
import optax

from jxent import losses

STATES, ACTIONS, GROUP = 8, 6, 8
KL_WEIGHT, ENTROPY_WEIGHT, CLIP = 0.02, 0.01, 0.2


def logits_of(params, states):
    return jnp.tanh(states @ params["inner"]) @ params["outer"]


def rewards_of(states, actions, goal):
    return (actions == jnp.argmax(states @ goal, axis=-1)[:, None]).astype(jnp.float32)


def loss(params, reference, batch):
    states, legal, actions, old_log_prob, advantages = batch
    repeat = lambda x: jnp.repeat(x[:, None], GROUP, axis=1)
    log_prob, entropy = losses.log_prob_and_entropy(
        repeat(logits_of(params, states)), actions, where=repeat(legal)
    )
    ratio = jnp.exp(log_prob - old_log_prob)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = jnp.minimum(ratio * advantages, clipped * advantages)
    log_reference = losses.log_prob_and_entropy(
        repeat(logits_of(reference, states)), actions, where=repeat(legal)
    ).log_prob
    drift = losses.kl_from_samples(
        log_prob, log_reference, log_b=old_log_prob, clip=5.0, reduction="mean"
    )
    value = -gain.mean() + KL_WEIGHT * drift - ENTROPY_WEIGHT * entropy.mean()
    return value, (drift, entropy.mean())


def sample(params, key, goal, size):
    """Groups of actions, with the log-probabilities that they were drawn with."""
    keys = jax.random.split(key, 3)
    states = jax.random.normal(keys[0], (size, STATES))
    best = jax.nn.one_hot(jnp.argmax(states @ goal, axis=-1), ACTIONS, dtype=bool)
    legal = best | (jax.random.uniform(keys[1], (size, ACTIONS)) < 0.7)
    logits = jnp.where(legal, logits_of(params, states), -jnp.inf)
    actions = jax.random.categorical(keys[2], logits[:, None], shape=(size, GROUP))
    log_prob, _ = losses.log_prob_and_entropy(
        jnp.repeat(logits[:, None], GROUP, axis=1), actions
    )
    rewards = rewards_of(states, actions, goal)
    spread = jnp.std(rewards, axis=1, keepdims=True)
    advantages = (rewards - rewards.mean(axis=1, keepdims=True)) / (spread + 1e-3)
    return (states, legal, actions, log_prob, advantages), rewards.mean()


def main(steps=150, size=64, epochs=2):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "inner": jax.random.normal(keys[0], (STATES, 32)) / STATES**0.5,
        "outer": 0.1 * jax.random.normal(keys[1], (32, ACTIONS)),
    }
    goal, reference = jax.random.normal(keys[2], (STATES, ACTIONS)), params
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, key):
        batch, reward = sample(params, key, goal, size)

        def epoch(carry, _):
            params, state = carry
            grads, extra = jax.grad(loss, has_aux=True)(params, reference, batch)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), state), extra

        (params, state), extra = jax.lax.scan(epoch, (params, state), None, epochs)
        return params, state, reward, [x[-1] for x in extra]

    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(1), step)
        params, state, reward, (drift, entropy) = update(params, state, key)
        if step % 30 == 0 or step == steps - 1:
            print(
                f"step {step}: reward {reward:.2f}, KL to the reference {drift:.3f}, "
                f"entropy {entropy:.2f} nats"
            )
    return reward


if __name__ == "__main__":
    main()
