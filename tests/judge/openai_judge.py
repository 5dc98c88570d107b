#!/usr/bin/env python3
"""Uses `espalier serve` through the unmodified Python library of the OpenAI interface.

usage: openai_judge.py ESPALIER_PROGRAM

The library is taken from the running Python, or from the virtual environment of judge_setup.py. Exit 1 if it sees
anything else than what that interface promises.
"""
import asyncio
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import judge_setup

judge_setup.ensure(sys.argv[1], "openai")
import openai  # noqa: E402

TEMPLATE = ("{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}")
PROMPT = "Once upon a time"
failures = []


def check(good, what):
    print("ok  " if good else "FAIL", what)
    if not good:
        failures.append(what)


def raises(kind, status, what, call):
    try:
        call()
        check(False, f"{what}: no error")
    except kind as error:
        check(error.status_code == status and bool(error.body and error.body.get("message")), f"{what}: {error.status_code} {error.message}")


def completions(client, model):
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=20, temperature=0)
    check(whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 20, f"completion: {whole.choices[0].text!r}")
    stream = client.completions.create(model=model, prompt=PROMPT, max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    check("".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text, "streamed completion is the same")
    check(chunks[-1].usage == whole.usage and not chunks[-1].choices, "usage comes last")
    stop = whole.choices[0].text[10:14]
    cut = client.completions.create(model=model, prompt=PROMPT, max_tokens=20, temperature=0, stop=[stop])
    check(cut.choices[0].text == whole.choices[0].text.split(stop)[0] and cut.choices[0].finish_reason == "stop", "stop string")
    draws = [client.completions.create(model=model, prompt=PROMPT, max_tokens=20, seed=seed, top_p=0.9).choices[0].text for seed in (1, 1, 2)]
    check(draws[0] == draws[1] != draws[2], "seeds")
    policy = client.completions.create(model=model, prompt=PROMPT, max_tokens=20, temperature=0, extra_body={"policy": "streaming", "budget": 16, "top_k": 5})
    check(len(policy.choices[0].text) > 0, f"policy: {policy.choices[0].text!r}")


def chats(client, model):
    messages = [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": "Tell one."}]
    whole = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=16, temperature=0)
    choice = whole.choices[0]
    check(choice.message.role == "assistant" and choice.finish_reason == "length", f"chat: {choice.message.content!r}")
    stream = list(client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0, stream=True))
    check("".join(c.choices[0].delta.content or "" for c in stream) == choice.message.content, "streamed chat is the same")
    check(stream[0].choices[0].delta.role == "assistant" and stream[-1].choices[0].finish_reason == "length", "roles and reasons of the stream")
    left = client.chat.completions.create(model=model, messages=messages, max_tokens=200, temperature=0, stream=True)
    next(iter(left))
    left.close()


def mistakes(client, model):
    raises(openai.NotFoundError, 404, "unknown model", lambda: client.completions.create(model="other", prompt="x"))
    raises(openai.BadRequestError, 400, "bad temperature", lambda: client.completions.create(model=model, prompt="x", temperature=9))
    raises(openai.BadRequestError, 400, "too long", lambda: client.completions.create(model=model, prompt="word " * 2000))
    raises(openai.BadRequestError, 400, "two answers", lambda: client.completions.create(model=model, prompt="x", n=2))
    raises(openai.APIStatusError, 413, "too large", lambda: client.completions.create(model=model, prompt="x" * 2_000_000))


async def many(url, model, expected):
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=5) as client:
        async def ask():
            return (await client.completions.create(model=model, prompt=PROMPT, max_tokens=20, temperature=0)).choices[0].text
        check(set(await asyncio.gather(*[ask() for _ in range(40)])) == {expected}, "forty at once, all alike")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="openai-judge-"))
    (folder / "chat.jinja").write_text(TEMPLATE)
    server = subprocess.Popen([sys.argv[1], "serve", "espalier-tiny", "--port", "0", "--max-body", "1000000", "--chat-template", folder / "chat.jinja"],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        url = re.search(r"http://\S+", server.stderr.readline()).group(0) + "/v1"
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        models = client.models.list().data
        check([m.id for m in models] == ["espalier-tiny"] and client.models.retrieve("espalier-tiny").owned_by == "espalier", "models")
        completions(client, models[0].id)
        chats(client, models[0].id)
        mistakes(client, models[0].id)
        expected = client.completions.create(model=models[0].id, prompt=PROMPT, max_tokens=20, temperature=0).choices[0].text
        asyncio.run(many(url, models[0].id, expected))
    finally:
        server.send_signal(signal.SIGTERM)
        check(server.wait(30) == 0, "ends with 0 after SIGTERM")
    print(f"openai {openai.__version__}: {len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
