"""JSON schemas for kubeconform, made from what Go modules carry.

    kubernetes_schemas.py swagger ZIP OUT_DIR    one schema per kind of a Kubernetes release's OpenAPI document
    kubernetes_schemas.py crds ZIP OUT_DIR       one schema per kind and version of a module's CRDs

ZIP is a module's archive, as `go mod download -json` names it. The schemas are strict: a field that the API
does not have is an error. Files are called KIND-GROUP-VERSION.json, in lower case, the group up to its first
dot: `job-batch-v1.json`, `service-v1.json`.
"""
import json
import pathlib
import sys
import zipfile

PREFIX = "#/definitions/"
# Values that the API server takes in more forms than its document says.
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"type": "object"},
}


class Recursive(Exception):
    """A kind that contains itself, such as a CRD's own schema; none of the chart's does."""


def inlined(node, definitions, path=()):
    """The schema without references, closed to unknown fields."""
    if isinstance(node, list):
        return [inlined(item, definitions, path) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].removeprefix(PREFIX)
        if name in SPECIAL:
            return SPECIAL[name]
        if name in path:
            raise Recursive(name)
        return inlined(definitions[name], definitions, path + (name,))
    result = {}
    for key, value in node.items():
        if key == "properties":  # a map from fields' names, which may be called like words of the schema
            result[key] = {name: inlined(field, definitions, path) for name, field in value.items()}
        elif key not in ("description", "format", "default"):
            result[key] = inlined(value, definitions, path)
    return closed(result, node)


def closed(result, node):
    """Objects of known fields take no others; extensions of OpenAPI become plain JSON schema."""
    if node.get("x-kubernetes-int-or-string"):
        result = {"type": ["string", "integer"]}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node \
            and not node.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    if node.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return {key: value for key, value in result.items() if not key.startswith("x-kubernetes") and key != "nullable"}


def write(out, group, version, kind, schema):
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    name = "-".join(part for part in (kind, group.split(".")[0], version) if part).lower()
    (out / f"{name}.json").write_text(json.dumps(schema))


def from_swagger(archive, out):
    name = next(n for n in archive.namelist() if n.endswith("/api/openapi-spec/swagger.json"))
    definitions = json.loads(archive.read(name))["definitions"]
    count = 0
    for name, definition in definitions.items():
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1 or kinds[0]["kind"].endswith("List") or "metadata" not in definition.get("properties", {}):
            continue
        try:
            schema = inlined(definition, definitions, (name,))
        except Recursive:
            continue
        for field in ("apiVersion", "kind"):
            schema["properties"][field] = {"type": "string"}
        write(out, kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"], schema)
        count += 1
    return count


def from_crds(archive, out):
    import yaml
    # YAML 1.1 gives a bare `=` a type of its own, which occurs in lists of operators.
    yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)
    count = 0
    for name in archive.namelist():
        if not name.endswith(".yaml") or "crd" not in name:
            continue
        for crd in yaml.safe_load_all(archive.read(name)):
            if not isinstance(crd, dict) or crd.get("kind") != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                schema = inlined(version["schema"]["openAPIV3Schema"], {})
                schema["properties"]["metadata"] = {"type": "object"}
                write(out, crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"], schema)
                count += 1
    return count


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("swagger", "crds"):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(sys.argv[2]) as archive:
        count = (from_swagger if sys.argv[1] == "swagger" else from_crds)(archive, out)
    if count == 0:
        sys.exit(f"{sys.argv[2]}: expected kinds of the Kubernetes API, found none")
    print(f"{count} kinds from {sys.argv[2]}")


if __name__ == "__main__":
    main()
