"""An unmodified tritonclient against a detector that speaks the Open Inference Protocol.

    python peer_detector.py GRPC_HOST:PORT MODEL IMAGE

Runs in the environment of tests/peers.requirements; test_detector.py starts it.
"""

import sys

import numpy as np
import tritonclient.grpc as client
from tritonclient.utils import InferenceServerException


def main(target, model, path):
    server = client.InferenceServerClient(target)
    assert server.is_server_live() and server.is_server_ready() and server.is_model_ready(model)
    about = server.get_model_metadata(model)
    assert [t.name for t in about.outputs] == ["boxes", "scores", "labels", "image_index"]
    with open(path, "rb") as f:
        images = np.array([f.read()] * 2, dtype=np.object_)
    tensor = client.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(images)
    result = server.infer(model, [tensor], request_id="r", parameters={"threshold": "0.001"})
    boxes, scores, labels, index = (result.as_numpy(n) for n in ("boxes", "scores", "labels", "image_index"))
    n = len(scores)
    assert boxes.shape == (n, 4) and boxes.dtype == np.float32 and labels.shape == index.shape == (n,)
    assert index.dtype == np.int32 and np.array_equal(boxes[index == 0], boxes[index == 1])
    wanted = [client.InferRequestedOutput("scores")]
    one = server.infer(model, [tensor], outputs=wanted, model_version=about.versions[0])
    assert one.as_numpy("scores").dtype == np.float32 and one.as_numpy("boxes") is None
    try:
        server.infer("no_such_model", [tensor])
    except InferenceServerException as e:
        assert model in str(e)
    else:
        raise AssertionError("an unknown model was served")


main(*sys.argv[1:])
