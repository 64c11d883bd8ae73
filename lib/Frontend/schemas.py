#!/usr/bin/env python3
"""Writes the operator schemas of the installed onnx package as a C++ table.

    python schemas.py OUTPUT.inc

NEWEST(version) is the newest opset of the default domain. SCHEMA(domain, name, since, least
inputs, most inputs, least outputs, most outputs) follow by domain, name and version, and
behind each schema its ATTRIBUTE(name, kind, required) lines; DEFAULT(value) belongs to the
attribute in front of it.
"""
import sys

import onnx
from onnx import AttributeProto, defs


def literal(attribute):
    """The default of an attribute as a C++ literal, or None for kinds without one."""
    value = attribute.default_value
    if value.type == AttributeProto.INT:
        return f"{value.i}LL" if value.i > -(2**63) else "INT64_MIN"
    if value.type == AttributeProto.FLOAT:
        return repr(float(value.f)).replace("inf", "INFINITY").replace("nan", "NAN")
    if value.type == AttributeProto.STRING:
        text = value.s.decode().replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return None


def main(path):
    schemas = sorted(defs.get_all_schemas_with_history(),
                     key=lambda s: (s.domain, s.name, s.since_version))
    with open(path, "w") as out:
        out.write(f"// Made by schemas.py from onnx {onnx.__version__}.\n")
        out.write(f"NEWEST({defs.onnx_opset_version()})\n")
        for schema in schemas:
            counts = (schema.min_input, schema.max_input, schema.min_output, schema.max_output)
            out.write(f'SCHEMA("{schema.domain}", "{schema.name}", {schema.since_version}, '
                      f"{', '.join(map(str, counts))})\n")
            for name, attribute in sorted(schema.attributes.items()):
                kind = attribute.type.name.title().replace("_", "")
                out.write(f'ATTRIBUTE("{name}", {kind}, {str(attribute.required).lower()})\n')
                default = literal(attribute)
                if default:
                    out.write(f"DEFAULT({default})\n")


main(sys.argv[1])
