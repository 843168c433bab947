"""Server reflection of gRPC: the services of an endpoint and their messages, for clients that know neither."""

from typing import Any

from google.protobuf import descriptor_pool

from lepton.serve.protocols.inference.protobuf import read_message
from lepton.serve.protocols.inference.schema import messages, pool_of_all

NOT_FOUND, UNIMPLEMENTED = 5, 12
"""Statuses of gRPC."""


def reflect(body: bytes) -> bytes:
    """The answer to one message of a reflection; what is not known is told in it.

    Raises:
        InvalidError: the bytes are no such message.
    """
    asked = read_message("ServerReflectionRequest", body)
    answer = messages()["ServerReflectionResponse"](valid_host=asked.host, original_request=asked)
    kind = asked.WhichOneof("message_request")
    pool, names = pool_of_all()
    try:
        if kind == "list_services":
            for name in names:
                for service in pool.FindFileByName(name).services_by_name.values():
                    answer.list_services_response.service.add(name=service.full_name)
        elif kind in ("file_by_filename", "file_containing_symbol"):
            found = _file(pool, kind, getattr(asked, kind)).serialized_pb
            answer.file_descriptor_response.file_descriptor_proto.append(found)
        elif kind == "all_extension_numbers_of_type":  # nothing here has extensions
            pool.FindMessageTypeByName(asked.all_extension_numbers_of_type)
            answer.all_extension_numbers_response.base_type_name = asked.all_extension_numbers_of_type
        else:
            _refuse(answer, UNIMPLEMENTED, "This is not known here")
    except KeyError as fault:
        _refuse(answer, NOT_FOUND, str(fault.args[0]))
    return bytes(answer.SerializeToString())


def _file(pool: descriptor_pool.DescriptorPool, kind: str, name: str) -> Any:
    """The file of that name, or the one in which that symbol stands; it imports no other.

    Raises:
        KeyError: there is none.
    """
    return pool.FindFileByName(name) if kind == "file_by_filename" else pool.FindFileContainingSymbol(name)


def _refuse(answer: Any, code: int, why: str) -> None:
    answer.error_response.error_code = code
    answer.error_response.error_message = why
