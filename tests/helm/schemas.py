"""Checks objects against the schemas of Kubernetes 1.34 and 1.36 and of custom resources, without a cluster.

    check(object, "1.36") -> ["spec.template.spec.containers[0].imagee: no such field", ...]

A file in schemas/ (written by update_schemas.py) has `kinds` ("apps/v1 Deployment" -> the name of its type) and `types`: an object is
{field: [required, type]}; other types are "string", "integer", "number", "boolean", "int-or-string", "any", ["array", type],
["map", type], ["enum", value...] and ["ref", name]. Fields of 1.34 that are in 1.36 are in 1.35. The OpenAPI documents have no enums of
the built-in kinds: ENUMS has those that the chart uses. What only an API server knows (immutable fields, admission) is not checked.
"""
import functools
import json
import os
import pathlib
import re

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = ["1.34", "1.36"]
ENUMS = {
    "V1Container.imagePullPolicy": ["Always", "IfNotPresent", "Never"],
    "V1ContainerPort.protocol": ["TCP", "UDP", "SCTP"],
    "V1DeploymentStrategy.type": ["Recreate", "RollingUpdate"],
    "V1LabelSelectorRequirement.operator": ["In", "NotIn", "Exists", "DoesNotExist"],
    "V1NetworkPolicyPort.protocol": ["TCP", "UDP", "SCTP"],
    "V1PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy": ["IfHealthyBudget", "AlwaysAllow"],
    "V1PodSecurityContext.fsGroupChangePolicy": ["OnRootMismatch", "Always"],
    "V1PodSpec.dnsPolicy": ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    "V1PodSpec.restartPolicy": ["Always", "OnFailure", "Never"],
    "V1SeccompProfile.type": ["RuntimeDefault", "Localhost", "Unconfined"],
    "V1ServicePort.protocol": ["TCP", "UDP", "SCTP"],
    "V1ServiceSpec.externalTrafficPolicy": ["Cluster", "Local"],
    "V1ServiceSpec.ipFamilyPolicy": ["SingleStack", "PreferDualStack", "RequireDualStack"],
    "V1ServiceSpec.type": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
    "V1StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted": ["Retain", "Delete"],
    "V1StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled": ["Retain", "Delete"],
    "V1StatefulSetSpec.podManagementPolicy": ["OrderedReady", "Parallel"],
    "V1StatefulSetUpdateStrategy.type": ["RollingUpdate", "OnDelete"],
    "V1TopologySpreadConstraint.whenUnsatisfiable": ["DoNotSchedule", "ScheduleAnyway"],
    "V2MetricSpec.type": ["ContainerResource", "External", "Object", "Pods", "Resource"],
    "V2MetricTarget.type": ["Utilization", "Value", "AverageValue"],
}


@functools.lru_cache(None)
def load(version):
    core, more = (json.loads(pathlib.Path(HERE, "schemas", name).read_text("utf-8"))
                  for name in ("kubernetes-%s.json" % version, "custom-resources.json"))
    return {**core["kinds"], **more["kinds"]}, {**core["types"], **more["types"]}


def check(thing, version):
    """What is wrong with the object, as sentences; empty: nothing."""
    kinds, types = load(version)
    kind = "%s %s" % (thing.get("apiVersion"), thing.get("kind"))
    if kind not in kinds:
        return ["%s: no such kind in Kubernetes %s" % (kind, version)]
    errors = []
    _check(thing, ["ref", kinds[kind]], "", "", types, errors)
    return errors


def _check(value, kind, at, field, types, errors):
    owner = field.split(".")[0]
    while isinstance(kind, list) and kind[0] == "ref":
        name = kind[1]
        if name not in types:  # custom resources use types of the core by their Go names
            m = re.fullmatch(r"IIoK8sApi\w*?(V[12][A-Z]\w*)", name)
            name = m[1] if m else name
        if name not in types:
            return
        kind, owner = types[name], name
    if value is None:
        errors.append("%s: null" % at)
    elif isinstance(kind, dict):
        if not isinstance(value, dict):
            errors.append("%s: %r is no object" % (at, value))
            return
        for key, each in value.items():
            where = "%s.%s" % (at, key) if at else key
            if key not in kind:
                errors.append("%s: no such field" % where)
            else:
                _check(each, kind[key][1], where, "%s.%s" % (owner, key), types, errors)
        errors.extend("%s: %s is missing" % (at, key) for key, (required, _) in kind.items() if required and key not in value)
    elif isinstance(kind, list) and kind[0] == "array":
        if not isinstance(value, list):
            errors.append("%s: %r is no list" % (at, value))
            return
        for i, each in enumerate(value):
            _check(each, kind[1], "%s[%d]" % (at, i), field, types, errors)
    elif isinstance(kind, list) and kind[0] == "map":
        if not isinstance(value, dict):
            errors.append("%s: %r is no object" % (at, value))
            return
        for key, each in value.items():
            _check(each, kind[1], "%s.%s" % (at, key), field, types, errors)
    elif isinstance(kind, list):
        if value not in kind[1:]:
            errors.append("%s: %r is none of %s" % (at, value, ", ".join(kind[1:])))
    elif not _is(value, kind):
        errors.append("%s: %r is no %s" % (at, value, kind))
    elif field in ENUMS and value not in ENUMS[field]:
        errors.append("%s: %r is none of %s" % (at, value, ", ".join(ENUMS[field])))


def _is(value, kind):
    if kind == "any":
        return True
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, {"string": str, "integer": int, "number": (int, float), "int-or-string": (int, str)}[kind])
