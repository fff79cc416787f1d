"""Checks answers against an OpenAPI 3.1 document: which operation a request was, and whether the
answer's status and body are what the document says. The part of JSON Schema that the document uses.
"""

import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


class Contract:
    def __init__(self, document):
        self.document = document
        self.operations = {}
        for path, item in document["paths"].items():
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", path)
            for method in ("get", "put", "post", "patch", "delete"):
                if method in item:
                    operation = item[method]
                    self.operations[operation["operationId"]] = (method.upper(), pattern, operation)

    def operation_of(self, method, path):
        """The operationId of a request; literal paths win over templates."""
        found = [(pattern.count("[^/]+"), name) for name, (wanted, pattern, _) in self.operations.items()
                 if wanted == method and re.fullmatch(pattern, path)]
        return min(found)[1] if found else None

    def check(self, name, answer):
        """AssertionError where the answer to operation `name` is not one the document describes."""
        responses = self.operations[name][2]["responses"]
        declared = responses.get(str(answer.status)) or (responses.get("default") if answer.status >= 400 else None)
        assert declared is not None, f"{name}: status {answer.status} is not in the document: {answer}"
        declared = self._resolve(declared)
        content = declared.get("content")
        if content is None:
            assert not answer.body, f"{name}: {answer.status} must have no body, has {answer.body[:200]}"
            return
        kind = answer.headers.get("Content-Type", "").split(";")[0]
        assert kind in content, f"{name}: {answer.status} comes as {kind}, the document has {list(content)}"
        if kind.endswith("json"):
            self.validate(answer.json, content[kind]["schema"], name)

    def _resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def validate(self, value, schema, where):
        schema = self._resolve(schema)
        if "allOf" in schema:
            parts = [self._resolve(part) for part in schema["allOf"]]
            schema = {"type": "object", "required": [name for part in parts for name in part.get("required", [])],
                      "properties": {k: v for part in parts for k, v in part.get("properties", {}).items()}}
        if "anyOf" in schema:
            problems = []
            for option in schema["anyOf"]:
                try:
                    return self.validate(value, option, where)
                except AssertionError as problem:
                    problems.append(str(problem))
            raise AssertionError(f"{where}: none of the choices fits: {problems}")
        if "type" in schema:
            kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            assert any(self._is(value, kind) for kind in kinds), f"{where}: {value!r} is no {kinds}"
        if "enum" in schema:
            assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema and isinstance(value, str):
            assert re.search(schema["pattern"], value), f"{where}: {value!r} does not match {schema['pattern']}"
        if isinstance(value, dict):
            self._validate_object(value, schema, where)
        if isinstance(value, list) and "items" in schema:
            for i, item in enumerate(value):
                self.validate(item, schema["items"], f"{where}[{i}]")

    def _validate_object(self, value, schema, where):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            assert name in value, f"{where}: {name} is missing in {value}"
        for name, member in value.items():
            if name in properties:
                self.validate(member, properties[name], f"{where}.{name}")
            elif isinstance(schema.get("additionalProperties"), dict):
                self.validate(member, schema["additionalProperties"], f"{where}.{name}")
            else:
                # What the document does not name would reach no generated client.
                assert schema.get("additionalProperties") is True or not properties, \
                    f"{where}: {name} is not in the document"

    @staticmethod
    def _is(value, kind):
        if kind == "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        if kind == "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        return isinstance(value, TYPES[kind])
