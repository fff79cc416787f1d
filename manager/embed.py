"""Writes the C++ source that carries the migrations and the OpenAPI document (as JSON).

usage: embed.py OUTPUT OPENAPI_YAML MIGRATION...
"""
import json
import os
import re
import sys

import yaml


def literal(text):
    """A C++ expression for the text: raw strings, cut where a compiler's limit would be."""
    pieces = [text[i:i + 8000] for i in range(0, len(text), 8000)] or [""]
    return "\n    ".join('R"~embed~(%s)~embed~"' % piece for piece in pieces)


def main():
    output, openapi, *migrations = sys.argv[1:]
    rows = []
    for expected, path in enumerate(sorted(migrations, key=os.path.basename), start=1):
        name = os.path.basename(path)
        found = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", name)
        if not found or int(found[1]) != expected:
            sys.exit(f"{name}: migrations are named NNNN_words.sql and numbered from 0001 without gaps")
        with open(path, encoding="utf-8") as file:
            rows.append('    {%d, "%s", %s},' % (expected, name, literal(file.read())))
    with open(openapi, encoding="utf-8") as file:
        document = yaml.load(file, Loader=yaml.CSafeLoader)
    text = (
        '#include "manager/embedded.hpp"\n\nnamespace goldlink::manager {\nnamespace {\n\n'
        "constexpr Migration kMigrations[] = {\n" + "\n".join(rows) + "\n};\n\n"
        "constexpr std::string_view kOpenApi =\n    " + literal(json.dumps(document, default=str))
        + ";\n\n}  // namespace\n\n"
        "std::span<const Migration> embedded_migrations() { return kMigrations; }\n"
        "std::string_view openapi_json() { return kOpenApi; }\n\n}  // namespace goldlink::manager\n"
    )
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


main()
