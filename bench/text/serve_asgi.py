"""The peers of the service, under uvicorn: POST /predict {"text"} by ONNX Runtime int8, as FastAPI and as bare ASGI.

MODEL=model-int8.onnx uvicorn serve_asgi:fast        MODEL=... uvicorn serve_asgi:bare
"""

import json
import os

import numpy as np
import onnxruntime
import rows
from fastapi import FastAPI
from pydantic import BaseModel

VOCABULARY = 3461

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])


def predict(text):
    """(label, probability) of an untrained model: what it costs is what counts."""
    ids = np.array([[2 + ord(c) % (VOCABULARY - 2)] for c in rows.clip(rows.normalise(text)) or " "], dtype=np.int64)
    logits = session.run(None, {"ids": ids})[0][0]
    odds = np.exp(logits - logits.max())
    return ("negative", "positive")[int(odds.argmax())], float(odds[1] / odds.sum())


class Query(BaseModel):
    text: str


fast = FastAPI()


@fast.post("/predict")
async def post(query: Query):
    label, prob = predict(query.text)
    return {"label": label, "prob": prob}


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def bare(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    label, prob = predict(json.loads(body)["text"])
    answer = json.dumps({"label": label, "prob": prob}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
