"""Controls: each breaks rendered objects in one way, and names the policy that has to refuse it."""

CONTROLS = []


def breaks(policy):
    def remember(function):
        CONTROLS.append((policy, function))
        return function
    return remember


def find(objects, kind, name):
    return next(one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)


def coordinators(objects):
    return find(objects, "StatefulSet", "palisade-coordinator")["spec"]


def pod(objects):
    return coordinators(objects)["template"]["spec"]


def container(objects):
    return pod(objects)["containers"][0]


def replace(arguments, start, by):
    place = next(index for index, one in enumerate(arguments) if one.startswith(start))
    arguments[place : place + 1] = by


@breaks("images_are_pinned")
def latest(objects):
    container(objects)["image"] = "palisade:latest"


@breaks("images_are_pinned")
def no_tag(objects):
    container(objects)["image"] = "registry:5000/palisade"


@breaks("nobody_is_root")
def root(objects):
    pod(objects)["securityContext"]["runAsUser"] = 0


@breaks("nobody_is_root")
def root_in_the_container(objects):
    container(objects)["securityContext"]["runAsUser"] = 0


@breaks("nobody_is_root")
def non_root_is_not_demanded(objects):
    del pod(objects)["securityContext"]["runAsNonRoot"]


@breaks("seccomp_is_on")
def unconfined(objects):
    pod(objects)["securityContext"]["seccompProfile"]["type"] = "Unconfined"


@breaks("nothing_is_privileged")
def privileged(objects):
    container(objects)["securityContext"]["privileged"] = True


@breaks("nothing_is_privileged")
def escalation(objects):
    del container(objects)["securityContext"]["allowPrivilegeEscalation"]


@breaks("capabilities_are_dropped")
def a_capability(objects):
    container(objects)["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]


@breaks("the_root_is_read_only")
def writable_root(objects):
    container(objects)["securityContext"]["readOnlyRootFilesystem"] = False


@breaks("the_host_is_left_alone")
def host_path(objects):
    pod(objects)["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


@breaks("the_host_is_left_alone")
def host_network(objects):
    pod(objects)["hostNetwork"] = True


@breaks("the_host_is_left_alone")
def host_port(objects):
    container(objects)["ports"][0]["hostPort"] = 7400


@breaks("no_token_is_mounted")
def a_token(objects):
    del pod(objects)["automountServiceAccountToken"]


@breaks("no_token_is_mounted")
def service_links(objects):
    del pod(objects)["enableServiceLinks"]


@breaks("no_token_is_mounted")
def an_account_hands_out(objects):
    del find(objects, "ServiceAccount", "palisade-agent")["automountServiceAccountToken"]


@breaks("no_rights_are_asked_for")
def cluster_admin(objects):
    objects.append({"kind": "ClusterRoleBinding", "metadata": {"name": "palisade"},
                    "roleRef": {"name": "cluster-admin"}})


@breaks("resources_are_asked_for")
def no_resources(objects):
    del container(objects)["resources"]


@breaks("resources_are_asked_for")
def no_memory_limit(objects):
    del container(objects)["resources"]["limits"]["memory"]


@breaks("resources_are_asked_for")
def a_processor_limit(objects):
    container(objects)["resources"]["limits"]["cpu"] = "1"


@breaks("the_admin_port_has_tls")
def in_the_clear(objects):
    container(objects)["args"].append("--insecure")


@breaks("the_admin_port_has_tls")
def no_certificate(objects):
    replace(container(objects)["args"], "--cert=", [])


@breaks("raft_is_a_stateful_set")
def a_deployment(objects):
    find(objects, "StatefulSet", "palisade-coordinator")["kind"] = "Deployment"


@breaks("raft_is_a_stateful_set")
def in_order(objects):
    coordinators(objects)["podManagementPolicy"] = "OrderedReady"


@breaks("raft_is_a_stateful_set")
def volumes_deleted(objects):
    coordinators(objects)["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Delete"


@breaks("raft_is_a_stateful_set")
def no_volume(objects):
    coordinators(objects)["volumeClaimTemplates"] = []


@breaks("pods_change_one_at_a_time")
def all_at_once(objects):
    coordinators(objects)["updateStrategy"]["rollingUpdate"] = {"maxUnavailable": 3}


@breaks("pods_change_one_at_a_time")
def by_hand(objects):
    coordinators(objects)["updateStrategy"]["type"] = "OnDelete"


@breaks("pods_change_one_at_a_time")
def hurried(objects):
    del coordinators(objects)["minReadySeconds"]


@breaks("peers_are_found_before_they_are_ready")
def only_ready_peers(objects):
    del find(objects, "Service", "palisade-coordinator-peers")["spec"]["publishNotReadyAddresses"]


@breaks("quorum_is_no_part_of_liveness")
def liveness_wants_a_leader(objects):
    container(objects)["livenessProbe"]["httpGet"]["path"] = "/readyz"


@breaks("quorum_is_no_part_of_liveness")
def startup_wants_a_leader(objects):
    container(objects)["startupProbe"]["grpc"]["service"] = "readyz"


@breaks("quorum_is_no_part_of_liveness")
def no_readiness(objects):
    del container(objects)["readinessProbe"]


@breaks("a_stop_is_not_a_leave")
def leaves_when_stopped(objects):
    container(objects)["lifecycle"]["preStop"] = {"exec": {"command": ["/palisade", "raft", "remove"]}}


@breaks("a_stop_is_not_a_leave")
def no_grace(objects):
    pod(objects)["terminationGracePeriodSeconds"] = 5


@breaks("evictions_are_allowed_one_at_a_time")
def never_evicted(objects):
    find(objects, "PodDisruptionBudget", "palisade-agent")["spec"]["maxUnavailable"] = 0


@breaks("evictions_are_allowed_one_at_a_time")
def no_budget(objects):
    objects.remove(find(objects, "PodDisruptionBudget", "palisade-agent"))


@breaks("pods_are_spread")
def on_one_host(objects):
    del pod(objects)["topologySpreadConstraints"]


@breaks("no_hook_stands_on_the_main_path")
def a_hook(objects):
    find(objects, "Service", "palisade-coordinator")["metadata"]["annotations"] = {
        "helm.sh/hook": "pre-install"}


@breaks("secrets_are_mounted")
def a_secret(objects):
    objects.append({"kind": "Secret", "metadata": {"name": "palisade"}, "stringData": {"tls.key": "…"}})


@breaks("secrets_are_mounted")
def a_token_in_the_environment(objects):
    container(objects)["env"].append({"name": "API_TOKEN", "value": "x"})


@breaks("secrets_are_mounted")
def writable_certificates(objects):
    mounts = container(objects)["volumeMounts"]
    next(mount for mount in mounts if mount["name"] == "tls")["readOnly"] = False


@breaks("ports_are_open_to_whom_they_are_for")
def raft_for_agents(objects):
    rules = find(objects, "NetworkPolicy", "palisade-coordinator")["spec"]["ingress"]
    rules[1]["ports"].append({"port": 7401})


@breaks("ports_are_open_to_whom_they_are_for")
def admin_for_all(objects):
    for rule in find(objects, "NetworkPolicy", "palisade-coordinator")["spec"]["ingress"]:
        if rule["ports"][0]["port"] == 7400:
            del rule["from"]


@breaks("ports_are_open_to_whom_they_are_for")
def no_policy_for_agents(objects):
    objects.remove(find(objects, "NetworkPolicy", "palisade-agent"))


@breaks("ports_are_open_to_whom_they_are_for")
def out_to_anybody(objects):
    find(objects, "NetworkPolicy", "palisade-agent")["spec"]["egress"].append({})


@breaks("listeners_are_named")
def another_port(objects):
    replace(container(objects)["args"], "--admin-listen=", ["--admin-listen=0.0.0.0:9999"])
