"""Finds the better of two prompts for an agent that is written in TypeScript.

Agent Lightning's own trainer serves the store and runs `tune`; whoever takes the rollouts from the store runs the agent.
"""

import asyncio
import os

import agentlightning as agl

PROMPTS = {
    "chatty": "Answer the question: {question}",
    "strict": "Answer with the number alone: {question}",
}
TASKS = [{"question": f"What is {a} times {b}?", "answer": str(a * b)} for a, b in [(6, 7), (3, 9), (12, 4), (8, 8)]]


@agl.algo
async def tune(*, store, train_dataset, adapter, **_):
    scores = {}
    for name, template in PROMPTS.items():
        prompt = agl.PromptTemplate(template=template, engine="f-string")
        resources = await store.add_resources({"prompt": prompt})
        queued = [
            await store.enqueue_rollout(input=task, mode="train", resources_id=resources.resources_id)
            for task in train_dataset
        ]
        ids = [rollout.rollout_id for rollout in queued]
        while len(done := await store.wait_for_rollouts(rollout_ids=ids, timeout=0.1)) < len(ids):
            await asyncio.sleep(0.2)
        triplets = [triplet for rollout_id in ids for triplet in adapter.adapt(await store.query_spans(rollout_id))]
        rewards = [triplet.reward for triplet in triplets]
        tokens = sum(len(triplet.response["token_ids"]) for triplet in triplets)
        scores[name] = sum(rewards) / len(rewards)
        states = sorted({rollout.status for rollout in done})
        print(f"{name}: {len(triplets)} calls, {tokens} tokens, mean reward {scores[name]:.2f}, {', '.join(states)}", flush=True)
    print(f"the better prompt: {max(scores, key=scores.get)}", flush=True)


class ElsewhereAgent(agl.LitAgent):
    """Stands for the agent, which runs in another process and language."""


if __name__ == "__main__":
    strategy = agl.ClientServerExecutionStrategy(
        role="algorithm",
        server_host="127.0.0.1",
        server_port=int(os.environ.get("AGL_SERVER_PORT", "4747")),
    )
    trainer = agl.Trainer(algorithm=tune, strategy=strategy, adapter=agl.TracerTraceToTriplet())
    trainer.fit(ElsewhereAgent(), train_dataset=TASKS)
