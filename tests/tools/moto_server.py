"""A local AWS for tests: S3, Secrets Manager and a Step Functions that really interprets the definition.

Environment: LAMBDA_URL, base address of whatever plays the functions. An invocation of function NAME becomes
    POST $LAMBDA_URL/2015-03-31/functions/NAME/invocations
and an answer with status 500, or with the header X-Amz-Function-Error, is a failed invocation whose body
names the error: {"errorType": "Transient", "errorMessage": "..."}.

Prints its port on one line when it is ready. Ends when its standard input is closed, so that it never
outlives the test that started it.
"""

import os
import sys
import urllib.error
import urllib.request

import jsonata
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer
from moto.stepfunctions.parser.asl.jsonata import jsonata as interpreter

TIMEOUT_SECONDS = 120


def invoke(self, function_name, qualifier, body, headers, response_headers):
    """Hands an invocation on; the function need not exist in moto."""
    name = function_name.split(":function:")[-1].split(":")[0]
    url = f"{os.environ['LAMBDA_URL']}/2015-03-31/functions/{name}/invocations"
    payload = body.encode() if isinstance(body, str) else body or b"{}"
    request = urllib.request.Request(url, data=payload, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            if error := answer.headers.get("X-Amz-Function-Error"):
                response_headers["x-amz-function-error"] = error
            return answer.read()
    except urllib.error.HTTPError as error:
        response_headers["x-amz-function-error"] = "Unhandled"
        return error.read()


default_user_config["lambda"] = {"use_docker": False}
default_user_config["stepfunctions"] = {"execute_state_machine": True}
LambdaSimpleBackend.invoke = invoke
# moto parses JSONata and leaves the evaluator out.
interpreter._eval_jsonata = lambda expression: jsonata.Jsonata(expression).evaluate(None)

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
# The interpreter calls S3 and Lambda through boto3: those calls have to come back here.
os.environ["MOTO_PORT"] = str(port)
os.environ["NO_PROXY"] = "127.0.0.1,localhost"
print(port, flush=True)
sys.stdin.read()
