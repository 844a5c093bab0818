"""What people who run clusters reject at once, each as a function from rendered objects to complaints.

A policy knows nothing of the chart's templates: only parsed objects. controls.py breaks each of them.
"""

import re

USER = 65532
WORKLOADS = ("StatefulSet", "Deployment", "DaemonSet", "Job", "ReplicaSet", "Pod")
POLICIES = {}


def policy(function):
    POLICIES[function.__name__] = function
    return function


def name_of(one):
    return f"{one['kind']}/{one['metadata']['name']}"


def pods(objects):
    """(name, spec, metadata) of every pod, or template of one."""
    for one in objects:
        if one["kind"] == "Pod":
            yield name_of(one), one["spec"], one["metadata"]
        elif one["kind"] in WORKLOADS:
            template = one["spec"]["template"]
            yield name_of(one), template["spec"], template["metadata"]


def containers(objects):
    for name, spec, _ in pods(objects):
        for container in spec.get("initContainers", []) + spec["containers"]:
            yield f"{name}/{container['name']}", container


def ours(objects):
    """Containers that run a server of Palisade's, and their arguments."""
    for name, container in containers(objects):
        arguments = container.get("args", [])
        if arguments[:1] in (["coordinator"], ["replica"]):
            yield name, container, arguments


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def flag(arguments, wanted):
    found = [one.split("=", 1)[1] for one in arguments if one.startswith(wanted + "=")]
    return found[0] if found else None


@policy
def images_are_pinned(objects):
    for name, container in containers(objects):
        image = container["image"]
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{name}: {image} may be another one tomorrow"


@policy
def nobody_is_root(objects):
    for name, spec, _ in pods(objects):
        security = spec.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
        for key, value in wanted.items():
            if security.get(key) != value:
                yield f"{name}: {key} is {security.get(key)}, not {value}"
    for name, container in containers(objects):
        security = container.get("securityContext", {})
        if security.get("runAsUser", USER) != USER or not security.get("runAsNonRoot"):
            yield f"{name}: may run as another user"


@policy
def seccomp_is_on(objects):
    for name, spec, _ in pods(objects):
        if spec.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no RuntimeDefault seccomp profile"


@policy
def nothing_is_privileged(objects):
    for name, container in containers(objects):
        security = container.get("securityContext", {})
        if security.get("privileged") is not False:
            yield f"{name}: privileged is not refused"
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: escalation is not refused"


@policy
def capabilities_are_dropped(objects):
    for name, container in containers(objects):
        if container.get("securityContext", {}).get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: keeps or adds capabilities"


@policy
def the_root_is_read_only(objects):
    for name, container in containers(objects):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name}: can write to its root"


@policy
def the_host_is_left_alone(objects):
    for name, spec, _ in pods(objects):
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{name}: {key}"
        for volume in spec.get("volumes", []):
            if "hostPath" in volume:
                yield f"{name}: {volume['name']} is a path of the host"
    for name, container in containers(objects):
        for port in container.get("ports", []):
            if "hostPort" in port:
                yield f"{name}: takes port {port['hostPort']} of the host"


@policy
def no_token_is_mounted(objects):
    for name, spec, _ in pods(objects):
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: gets a service account's token"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name}: gets variables of services, which are read as flags"
    for one in of_kind(objects, "ServiceAccount"):
        if one.get("automountServiceAccountToken") is not False:
            yield f"{name_of(one)}: hands its token out"


@policy
def no_rights_are_asked_for(objects):
    for one in objects:
        if one["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
            yield f"{name_of(one)}: nothing here talks to Kubernetes"


@policy
def resources_are_asked_for(objects):
    for name, container in containers(objects):
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not {"cpu", "memory"} <= requests.keys():
            yield f"{name}: asks for no processor or memory"
        if "memory" not in limits:
            yield f"{name}: its memory has no limit"
        if "cpu" in limits:
            yield f"{name}: its processor has a limit; who is throttled loses its lease"


@policy
def the_admin_port_has_tls(objects):
    for name, _, arguments in ours(objects):
        if "--insecure" in arguments:
            yield f"{name}: serves in the clear"
        for wanted in ("--cacert", "--cert", "--key"):
            if not flag(arguments, wanted):
                yield f"{name}: {wanted} is missing"


@policy
def raft_is_a_stateful_set(objects):
    for one in objects:
        if one["kind"] not in WORKLOADS or one["kind"] == "Pod":
            continue
        spec = one["spec"]
        if one["kind"] != "StatefulSet":
            yield f"{name_of(one)}: what holds data is no {one['kind']}"
            continue
        if spec.get("podManagementPolicy") != "Parallel":
            yield f"{name_of(one)}: pods wait for each other, and none could begin a cluster"
        retained = spec.get("persistentVolumeClaimRetentionPolicy")
        if retained != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            yield f"{name_of(one)}: volumes go with it"
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
        if claims != ["data"]:
            yield f"{name_of(one)}: has no volume of its own for data"


@policy
def pods_change_one_at_a_time(objects):
    for one in of_kind(objects, "StatefulSet"):
        strategy = one["spec"].get("updateStrategy", {})
        if strategy.get("type") != "RollingUpdate":
            yield f"{name_of(one)}: is not updated by a rolling update"
        if strategy.get("rollingUpdate", {}).get("maxUnavailable", 1) != 1:
            yield f"{name_of(one)}: several pods go at once"
        if one["spec"].get("minReadySeconds", 0) < 5:
            yield f"{name_of(one)}: the next pod goes before this one has settled"


@policy
def peers_are_found_before_they_are_ready(objects):
    headless = {}
    for one in of_kind(objects, "Service"):
        if one["spec"].get("clusterIP") == "None":
            headless[one["metadata"]["name"]] = one["spec"].get("publishNotReadyAddresses")
    for one in of_kind(objects, "StatefulSet"):
        if headless.get(one["spec"]["serviceName"]) is not True:
            yield f"{name_of(one)}: no headless service names its pods before they are ready"


@policy
def quorum_is_no_part_of_liveness(objects):
    for name, container, _ in ours(objects):
        liveness = container.get("livenessProbe", {})
        path = liveness.get("httpGet", {}).get("path")
        if path != "/livez" or set(liveness) & {"grpc", "exec", "tcpSocket"}:
            yield f"{name}: liveness asks for more than whether it answers"
        readiness, startup = container.get("readinessProbe", {}), container.get("startupProbe", {})
        if readiness.get("grpc", {}).get("service") != "readyz":
            yield f"{name}: readiness is not asked for by gRPC health"
        if startup.get("grpc", {}).get("service") != "livez":
            yield f"{name}: startup is not asked for by gRPC health, or asks for a quorum"
        if startup.get("failureThreshold", 3) * startup.get("periodSeconds", 10) < 300:
            yield f"{name}: a large directory has no time to be opened"


@policy
def a_stop_is_not_a_leave(objects):
    for name, container, _ in ours(objects):
        stop = container.get("lifecycle", {}).get("preStop", {})
        if set(stop) - {"sleep"}:
            yield f"{name}: preStop does more than give others time"
    for name, spec, _ in pods(objects):
        servers = [one for one in spec["containers"] + spec.get("initContainers", [])
                   if one.get("args", [""])[0] in ("coordinator", "replica")]
        if servers and spec.get("terminationGracePeriodSeconds", 30) < 60:
            yield f"{name}: has less than 60 s to stop in order"


@policy
def evictions_are_allowed_one_at_a_time(objects):
    budgets = of_kind(objects, "PodDisruptionBudget")
    for one in budgets:
        spec = one["spec"]
        if spec.get("maxUnavailable") != 1 or "minAvailable" in spec:
            yield f"{name_of(one)}: does not allow exactly one eviction"
    for name, _, metadata in pods([one for one in objects if one["kind"] == "StatefulSet"]):
        labels = metadata["labels"].items()
        over = [one for one in budgets if one["spec"]["selector"]["matchLabels"].items() <= labels]
        if len(over) != 1:
            yield f"{name}: {len(over)} disruption budgets"


@policy
def pods_are_spread(objects):
    for one in of_kind(objects, "StatefulSet"):
        spec = one["spec"]["template"]["spec"]
        keys = {constraint["topologyKey"] for constraint in spec.get("topologySpreadConstraints", [])}
        if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{name_of(one)}: is not spread over zones and hosts"


@policy
def no_hook_stands_on_the_main_path(objects):
    for one in objects:
        hook = one["metadata"].get("annotations", {}).get("helm.sh/hook")
        if hook not in (None, "test"):
            yield f"{name_of(one)}: is a hook ({hook}) without which nothing is installed"


@policy
def secrets_are_mounted(objects):
    for one in of_kind(objects, "Secret"):
        yield f"{name_of(one)}: a secret in a manifest is none"
    for name, container in containers(objects):
        for variable in container.get("env", []):
            secret = re.search("token|password|secret", variable["name"], re.I)
            if (secret and "value" in variable) or "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"{name}: {variable['name']} is a secret in the environment"
        for argument in container.get("args", []):
            if re.search("PRIVATE KEY|--(token|password)", argument):
                yield f"{name}: a secret among the arguments"
        for mount in container.get("volumeMounts", []):
            if mount["name"] == "tls" and not mount.get("readOnly"):
                yield f"{name}: can write to its certificates"


# Which port of which component is reached by whom. Nobody else, and no other port.
WANTED = {
    "coordinator": {7400: "client", 7401: "coordinator", 7402: "agent", 7403: "namespace"},
    "agent": {7410: "client", 7411: "agent", 7413: "namespace"},
}


def peer(source):
    """Whom one `from` names, in one word."""
    if set(source) == {"namespaceSelector"} and source["namespaceSelector"].get("matchLabels"):
        return "namespace"
    labels = source.get("podSelector", {}).get("matchLabels", {})
    if set(source) != {"podSelector"} or not labels:
        return "anybody"
    if labels == {"palisade/client": "true"}:
        return "client"
    return labels.get("app.kubernetes.io/component", "anybody")


@policy
def ports_are_open_to_whom_they_are_for(objects):
    seen = set()
    for one in of_kind(objects, "NetworkPolicy"):
        component = one["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
        seen.add(component)
        if set(one["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
            yield f"{name_of(one)}: one direction is open"
        found = {}
        for rule in one["spec"].get("ingress", []):
            who = {peer(source) for source in rule.get("from", [{}])}
            for port in rule.get("ports", [{"port": "every"}]):
                found.setdefault(port["port"], set()).update(who)
        if found != {port: {who} for port, who in WANTED.get(component, {}).items()}:
            yield f"{name_of(one)}: lets in {found}"
        for rule in one["spec"].get("egress", []):
            if not rule.get("to") or not rule.get("ports"):
                yield f"{name_of(one)}: lets out to anybody"
    if seen != set(WANTED):
        yield f"network policies for {sorted(map(str, seen))}"


@policy
def listeners_are_named(objects):
    """Every port that a server listens on is a port of its container, and the other way round."""
    for name, container, arguments in ours(objects):
        listened = {int(one.rsplit(":", 1)[1]) for one in arguments if "-listen=" in one}
        declared = {port["containerPort"] for port in container.get("ports", [])}
        if listened != declared:
            yield f"{name}: listens on {sorted(listened)}, says {sorted(declared)}"
