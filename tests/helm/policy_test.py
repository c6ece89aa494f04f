"""What holds for each object of each rendering: names lead somewhere, pods are restricted, secrets are not in the open."""
import base64
import itertools
import json
import re
import unittest

import chart

RENDERED = {}
# A label of RFC 1123, and a DNS name of them.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
# Who calls whom: the rows of services/common/rpc/callers.cc that have callers besides the administrator; directory follows its stores.
EDGES = {("ingress", "directory"), ("ingress", "routing"), ("ingress", "queue"), ("ingress", "mailbox"), ("routing", "directory"),
         ("queue", "routing"), ("queue", "mailbox"), ("gateway", "directory"), ("gateway", "mailbox"), ("mailbox", "directory")}
HEALTHY_KINDS = ("Deployment", "StatefulSet")


def setUpModule():
    RENDERED.update({name: chart.render(values) for name, values in chart.value_sets().items()})


def matches(selector, labels):
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        if not {"In": value in each.get("values", []), "Exists": value is not None, "NotIn": value not in each.get("values", []),
                "DoesNotExist": value is None}[each["operator"]]:
            return False
    return True


def bytes_of(quantity):
    number, unit = re.fullmatch(r"([0-9.]+)(\D*)", str(quantity)).groups()
    return float(number) * {"": 1, "m": .001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit]


def sum_of_requests(spec):
    return {unit: sum(bytes_of(c["resources"]["requests"][unit]) for c in spec["containers"]) for unit in ("cpu", "memory")}


class Policy(unittest.TestCase):
    """`each*` yield (where, object) over all renderings; `where` names the rendering and the object."""

    def each(self, *kinds):
        found = 0
        for name, things in RENDERED.items():
            for thing in things:
                if not kinds or thing["kind"] in kinds:
                    found += 1
                    yield "%s: %s" % (name, chart.key(thing)), thing
        self.assertGreater(found, 0, "no object of %s anywhere: the test shows nothing" % (kinds,))

    def each_pod(self):
        for where, thing in self.each():
            spec = chart.pod_spec(thing)
            if spec is not None:
                yield where, thing, spec

    def each_container(self):
        for where, thing, spec in self.each_pod():
            for container in chart.containers(spec):
                yield "%s/%s" % (where, container["name"]), thing, spec, container

    def each_service(self):
        """(where, container) of the processes: what runs `posthouse SERVICE`."""
        for where, thing, _, container in self.each_container():
            if thing["kind"] in HEALTHY_KINDS and "ports" in container:
                yield where, thing, container

    def workloads(self, name):
        return [t for t in RENDERED[name] if chart.pod_spec(t) is not None]

    def pods_of(self, where, selector):
        return [t for t in self.workloads(where.split(":")[0]) if matches(selector, chart.pod_labels(t))]


class Names(Policy):
    def test_no_two_objects_have_one_name(self):
        for name, things in RENDERED.items():
            keys = [(t["apiVersion"].split("/")[0], t["kind"], t["metadata"].get("namespace"), t["metadata"]["name"]) for t in things]
            self.assertEqual(sorted(k for k in set(keys) if keys.count(k) > 1), [], name)

    def test_names_are_dns_names_and_names_of_services_are_labels(self):
        for where, thing in self.each():
            self.assertRegex(thing["metadata"]["name"], "^%s$" % NAME.pattern, where)
            if thing["kind"] in ("Service", "StatefulSet"):
                self.assertRegex(thing["metadata"]["name"], "^%s$" % LABEL.pattern, where)

    def test_names_of_pods_and_their_revisions_fit_into_labels(self):
        # A StatefulSet's pods get the label controller-revision-hash: its name, "-" and ten characters.
        for where, thing in self.each("StatefulSet"):
            self.assertLessEqual(len(thing["metadata"]["name"]) + 11, 63, where)
        things = chart.render({"fullnameOverride": "x" * 40})
        self.assertLessEqual(max(len(t["metadata"]["name"]) for t in things if t["kind"] in ("Service", "StatefulSet", "Deployment")), 52)

    def test_labels_have_values_that_are_allowed(self):
        for where, thing in self.each():
            labels = dict(thing["metadata"].get("labels", {}))
            if chart.pod_spec(thing):
                labels.update(chart.pod_labels(thing))
            for key, value in labels.items():
                self.assertRegex(value, "^%s$" % LABEL_VALUE.pattern, "%s %s" % (where, key))

    def test_objects_have_the_recommended_labels(self):
        for where, thing in self.each():
            if thing["metadata"]["name"] in ("lists", "second"):
                continue  # extraObjects are the user's
            for key in ("name", "instance", "version", "managed-by", "part-of"):
                self.assertIn("app.kubernetes.io/" + key, thing["metadata"]["labels"], where)
            self.assertIn("helm.sh/chart", thing["metadata"]["labels"], where)

    def test_objects_are_in_the_namespace_of_the_release_unless_a_value_says_otherwise(self):
        for where, thing in self.each():
            if not where.startswith("11-") and thing["metadata"]["name"] not in ("lists", "second"):
                self.assertEqual(thing["metadata"]["namespace"], chart.NAMESPACE, where)

    def test_no_port_name_is_longer_than_15_characters(self):
        for where, _, container in self.each_service():
            for port in container["ports"]:
                self.assertRegex(port["name"], r"^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$", where)

    def test_common_labels_and_annotations_are_on_each_object_of_the_chart(self):
        for thing in RENDERED["13-places"]:
            if thing["metadata"]["name"] not in ("lists", "second"):
                self.assertEqual(thing["metadata"]["labels"]["team"], "mail", chart.key(thing))
                self.assertEqual(thing["metadata"]["annotations"]["owner"], "mail@example.org", chart.key(thing))


class Selectors(Policy):
    def test_a_workload_selects_its_own_pods_and_no_others(self):
        for where, thing in self.each(*HEALTHY_KINDS):
            self.assertTrue(matches(thing["spec"]["selector"], chart.pod_labels(thing)), where)
            others = [o for o in self.pods_of(where, thing["spec"]["selector"]) if o["kind"] in HEALTHY_KINDS]
            self.assertEqual([chart.key(o) for o in others], [chart.key(thing)], where)

    def test_selectors_have_no_label_that_an_upgrade_changes(self):
        for where, thing in self.each(*HEALTHY_KINDS):
            self.assertEqual([k for k in thing["spec"]["selector"]["matchLabels"] if "version" in k or "chart" in k], [], where)

    def test_each_service_selects_pods_with_the_ports_it_names(self):
        for where, thing in self.each("Service"):
            pods = self.pods_of(where, {"matchLabels": thing["spec"]["selector"]})
            pods = [p for p in pods if p["kind"] in HEALTHY_KINDS]
            self.assertEqual(len(pods), 1, where)
            ports = {p["name"] for c in chart.containers(chart.pod_spec(pods[0])) for p in c.get("ports", [])}
            for port in thing["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports, where)

    def test_each_stateful_set_has_its_headless_service(self):
        for where, thing in self.each("StatefulSet"):
            services = {s["metadata"]["name"]: s["spec"] for s in RENDERED[where.split(":")[0]] if s["kind"] == "Service"}
            service = services[thing["spec"]["serviceName"]]
            self.assertEqual(service["clusterIP"], "None", where)
            self.assertTrue(service["publishNotReadyAddresses"], where)
            self.assertTrue(matches({"matchLabels": service["selector"]}, chart.pod_labels(thing)), where)

    def test_each_disruption_budget_selects_one_workload_and_lets_a_drain_go_on(self):
        for where, thing in self.each("PodDisruptionBudget"):
            pods = [p for p in self.pods_of(where, thing["spec"]["selector"]) if p["kind"] in HEALTHY_KINDS]
            self.assertEqual(len(pods), 1, where)
            self.assertNotIn(thing["spec"]["maxUnavailable"], (0, "0%"), where)
            self.assertEqual(thing["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow", where)

    def test_each_service_of_the_system_has_a_disruption_budget(self):
        kinds = [t["metadata"]["name"] for t in RENDERED["01-defaults"] if t["kind"] == "PodDisruptionBudget"]
        self.assertEqual(len(kinds), 6)

    def test_each_autoscaler_scales_a_deployment_that_sets_no_replicas(self):
        for where, thing in self.each("HorizontalPodAutoscaler", "ScaledObject"):
            target = thing["spec"]["scaleTargetRef"]
            found = [t for t in RENDERED[where.split(":")[0]] if (t["kind"], t["metadata"]["name"]) == (target["kind"], target["name"])]
            self.assertEqual(len(found), 1, where)
            self.assertNotIn("replicas", found[0]["spec"], where)

    def test_monitors_select_pods_or_services_with_a_metrics_port(self):
        for where, thing in self.each("PodMonitor"):
            pods = self.pods_of(where, thing["spec"]["selector"])
            self.assertGreaterEqual(len(pods), 6, where)
            for pod in pods:
                ports = {p["name"] for c in chart.containers(chart.pod_spec(pod)) for p in c.get("ports", [])}
                if pod["kind"] in HEALTHY_KINDS:
                    self.assertIn(thing["spec"]["podMetricsEndpoints"][0]["port"], ports, where)
        for where, thing in self.each("ServiceMonitor"):
            port = thing["spec"]["endpoints"][0]["port"]
            services = [s for s in RENDERED[where.split(":")[0]] if s["kind"] == "Service" and matches(thing["spec"]["selector"], s["metadata"]["labels"])]
            self.assertEqual(len([s for s in services if port in [p["name"] for p in s["spec"]["ports"]]]), 6, where)

    def test_spread_and_anti_affinity_select_the_pods_they_belong_to(self):
        for where, thing, spec in self.each_pod():
            if thing["kind"] not in HEALTHY_KINDS or "topologySpreadConstraints" not in spec:
                continue
            selectors = [c["labelSelector"] for c in spec["topologySpreadConstraints"]]
            for term in spec["affinity"].get("podAntiAffinity", {}).get("preferredDuringSchedulingIgnoredDuringExecution", []):
                selectors.append(term["podAffinityTerm"]["labelSelector"])
            for selector in selectors:
                self.assertTrue(matches(selector, chart.pod_labels(thing)), where)


class Pods(Policy):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, "restricted", and what goes beyond it."""

    def test_pods_do_not_run_as_root_and_have_the_default_seccomp_profile(self):
        for where, _, spec in self.each_pod():
            self.assertTrue(spec["securityContext"]["runAsNonRoot"], where)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, where)

    def test_containers_have_no_capability_no_escalation_and_a_read_only_root(self):
        for where, _, _, container in self.each_container():
            context = container["securityContext"]
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]}, where)
            self.assertIs(context["allowPrivilegeEscalation"], False, where)
            self.assertIs(context["readOnlyRootFilesystem"], True, where)
            self.assertNotIn("privileged", context, where)

    def test_pods_use_nothing_of_their_node(self):
        for where, _, spec in self.each_pod():
            for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
                self.assertNotIn(key, spec, where)
            for container in chart.containers(spec):
                for port in container.get("ports", []):
                    self.assertNotIn("hostPort", port, where)
                    self.assertGreaterEqual(port["containerPort"], 1024, where)

    def test_volumes_are_of_the_kinds_that_restricted_allows(self):
        for where, _, spec in self.each_pod():
            for volume in spec.get("volumes", []):
                kinds = set(volume) - {"name"}
                self.assertEqual(len(kinds), 1, "%s %s" % (where, volume))
                self.assertLessEqual(kinds, {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim", "csi", "ephemeral",
                                             "downwardAPI"}, where)

    def test_no_pod_mounts_a_token_of_its_service_account(self):
        for where, _, spec in self.each_pod():
            self.assertIs(spec["automountServiceAccountToken"], False, where)
            self.assertIs(spec["enableServiceLinks"], False, where)
        for where, thing in self.each("ServiceAccount"):
            self.assertIs(thing["automountServiceAccountToken"], False, where)

    def test_the_service_account_of_each_pod_exists_or_is_the_one_that_a_value_names(self):
        for where, _, spec in self.each_pod():
            made = {t["metadata"]["name"] for t in RENDERED[where.split(":")[0]] if t["kind"] == "ServiceAccount"}
            self.assertIn(spec["serviceAccountName"], made or {"mail-runner"}, where)

    def test_the_chart_gives_nobody_a_role(self):
        for where, thing in self.each():
            self.assertNotIn(thing["kind"], ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"), where)

    def test_a_fixed_user_outside_of_openshift_and_none_inside(self):
        for where, _, spec in self.each_pod():
            fixed = {k for k in ("runAsUser", "runAsGroup", "fsGroup") if k in spec["securityContext"]}
            self.assertEqual(fixed, set() if where.startswith("09-") else {"runAsUser", "runAsGroup", "fsGroup"}, where)

    def test_each_mount_has_its_volume_and_each_volume_a_mount(self):
        for where, thing, spec in self.each_pod():
            volumes = {v["name"] for v in spec.get("volumes", [])}
            volumes |= {c["metadata"]["name"] for c in thing["spec"].get("volumeClaimTemplates", [])} if thing["kind"] == "StatefulSet" else set()
            mounts = {m["name"] for c in chart.containers(spec) for m in c.get("volumeMounts", [])}
            self.assertEqual(mounts, volumes, where)

    def test_no_mount_uses_a_sub_path_since_those_never_change(self):
        for where, _, _, container in self.each_container():
            for mount in container.get("volumeMounts", []):
                self.assertNotIn("subPath", mount, where)
                self.assertNotIn("subPathExpr", mount, where)

    def test_configuration_and_secrets_are_mounted_for_reading(self):
        for where, _, spec, container in self.each_container():
            sources = {v["name"]: v for v in spec.get("volumes", [])}
            for mount in container.get("volumeMounts", []):
                if {"configMap", "secret", "projected"} & set(sources.get(mount["name"], {})):
                    self.assertIs(mount.get("readOnly"), True, "%s %s" % (where, mount["name"]))

    def test_files_of_secrets_are_for_the_group_of_the_pod_and_not_for_everyone(self):
        # root owns them; fsGroup makes them the group's. No file of a mode that the programs refuse (rpc.token_file) is among them.
        for where, _, spec in self.each_pod():
            for volume in spec.get("volumes", []):
                if "secret" in volume:
                    self.assertEqual(volume["secret"]["defaultMode"], 0o440, where)
        for where, thing in self.each("ConfigMap"):
            self.assertNotIn("token_file", thing.get("data", {}).get("config.yaml", ""), where)

    def test_a_volume_is_given_to_the_group_once_and_not_at_each_start(self):
        for where, _, spec in self.each_pod():
            self.assertEqual(spec["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch", where)

    def test_the_defaults_fit_on_two_small_nodes(self):
        # Two nodes of 2 CPUs and 4 GiB, of which the system's own pods take a quarter; and one pod of a rollout.
        for name in ("01-defaults", "02-standalone"):
            pods = [sum_of_requests(chart.pod_spec(t)) for t in self.workloads(name) if t["kind"] in HEALTHY_KINDS for _ in range(t["spec"]["replicas"])]
            for unit, node in (("cpu", 2 * .75), ("memory", 4 * 2**30 * .75)):
                sizes = [p[unit] for p in pods]
                self.assertLessEqual(sum(sizes) + max(sizes), 2 * node, "%s %s" % (name, unit))
                self.assertLessEqual(max(sizes), node, "%s %s" % (name, unit))

    def test_configmaps_and_secrets_that_a_pod_mounts_are_rendered_or_named_by_a_value(self):
        outside = {"mail-tls", "other-tls", "first-account", "lists"} | {"mtls-" + x for x in "abcdefg"}
        for where, _, spec in self.each_pod():
            things = RENDERED[where.split(":")[0]]
            made = {(t["kind"], t["metadata"]["name"]) for t in things}
            made |= {("Secret", t["spec"]["secretName"]) for t in things if t["kind"] == "Certificate"}
            for volume in spec.get("volumes", []):
                for kind, name in (("Secret", volume.get("secret", {}).get("secretName")), ("ConfigMap", volume.get("configMap", {}).get("name"))):
                    if name and name not in outside:
                        self.assertIn((kind, name), made, where)

    def test_the_image_is_one_and_has_a_tag_that_is_not_latest(self):
        for where, _, _, container in self.each_container():
            self.assertRegex(container["image"], r"^[a-z0-9./-]+:[0-9][\w.-]*(@sha256:[0-9a-f]{64})?$", where)
        self.assertTrue(all(c["image"].startswith("registry.example.com/mirror/posthouse:") and "@sha256:" in c["image"]
                            for t in self.workloads("09-openshift") for c in chart.containers(chart.pod_spec(t))))

    def test_containers_state_cpu_and_memory_and_limit_memory_only(self):
        for where, _, _, container in self.each_container():
            resources = container["resources"]
            self.assertEqual(set(resources["requests"]), {"cpu", "memory"}, where)
            self.assertEqual(set(resources["limits"]), {"memory"}, where)  # a CPU limit stops event loops and drains
            self.assertLessEqual(bytes_of(resources["requests"]["memory"]), bytes_of(resources["limits"]["memory"]), where)
            for quantity in itertools.chain(resources["requests"].values(), resources["limits"].values()):
                self.assertRegex(str(quantity), "^%s$" % QUANTITY.pattern, where)

    def test_processes_know_their_pod_and_namespace(self):
        for where, _, container in self.each_service():
            env = {e["name"]: e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for e in container.get("env", [])}
            if container["name"] != "probe":
                self.assertEqual((env["POD_NAME"], env["POD_NAMESPACE"]), ("metadata.name", "metadata.namespace"), where)

    def test_no_environment_has_a_secret(self):
        for where, _, _, container in self.each_container():
            for each in container.get("env", []):
                self.assertNotIn("secretKeyRef", each.get("valueFrom", {}), where)
            self.assertNotIn("envFrom", container, where)


class Life(Policy):
    def test_processes_have_three_probes_on_ports_that_exist(self):
        for where, _, container in self.each_service():
            ports = {p["name"] for p in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertIn(probe, container, where)
                self.assertIn(container[probe]["httpGet"]["port"], ports, where)
            self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/livez", where)
            self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz", where)

    def test_liveness_waits_for_the_recovery_of_a_store(self):
        for where, thing, container in self.each_service():
            probe = container["startupProbe"]
            seconds = probe["periodSeconds"] * probe["failureThreshold"]
            self.assertGreaterEqual(seconds, 900 if thing["kind"] == "StatefulSet" else 60, where)
            liveness = container["livenessProbe"]
            self.assertGreaterEqual(liveness["periodSeconds"] * liveness["failureThreshold"], 30, where)

    def test_readiness_is_seen_within_ten_seconds(self):
        for where, _, container in self.each_service():
            probe = container["readinessProbe"]
            self.assertLessEqual(probe["periodSeconds"] * probe.get("failureThreshold", 3), 15, where)

    def test_a_pod_leaves_the_endpoints_before_sigterm_without_a_shell(self):
        for where, _, container in self.each_service():
            if container["name"] == "probe":
                continue
            self.assertEqual(list(container["lifecycle"]["preStop"]), ["sleep"], where)
            readiness = container["readinessProbe"]
            self.assertGreaterEqual(container["lifecycle"]["preStop"]["sleep"]["seconds"], readiness["periodSeconds"], where)

    def test_the_grace_period_holds_pre_stop_and_drain(self):
        for where, thing, container in self.each_service():
            if container["name"] == "probe":
                continue
            drain = int(re.search(r"^drain_timeout: (\d+)s$", self.config(where, thing), re.M)[1])
            sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.assertGreaterEqual(chart.pod_spec(thing)["terminationGracePeriodSeconds"], sleep + drain + 10, where)

    def config(self, where, thing):
        name = next(v["configMap"]["name"] for v in chart.pod_spec(thing)["volumes"] if "configMap" in v and v["name"] == "config")
        return next(t["data"]["config.yaml"] for t in RENDERED[where.split(":")[0]] if (t["kind"], t["metadata"]["name"]) == ("ConfigMap", name))

    def test_stateful_sets_start_and_stop_in_parallel_and_keep_their_claims(self):
        for where, thing in self.each("StatefulSet"):
            self.assertEqual(thing["spec"]["podManagementPolicy"], "Parallel", where)
            kept = thing["spec"]["persistentVolumeClaimRetentionPolicy"]
            if "13-places: StatefulSet/posthouse-post-mailbox" not in where and "mailbox" not in where:
                self.assertEqual(kept, {"whenDeleted": "Retain", "whenScaled": "Retain"}, where)

    def test_a_store_has_a_claim_for_one_pod_and_its_deployment_has_none(self):
        for where, thing in self.each("StatefulSet"):
            claim, = thing["spec"]["volumeClaimTemplates"]
            self.assertLessEqual(set(claim["spec"]["accessModes"]), {"ReadWriteOnce", "ReadWriteOncePod"}, where)
            self.assertRegex(claim["spec"]["resources"]["requests"]["storage"], "^%s$" % QUANTITY.pattern, where)
        for where, thing in self.each("Deployment"):
            self.assertFalse([v for v in chart.pod_spec(thing).get("volumes", []) if "persistentVolumeClaim" in v], where)

    def test_directory_and_standalone_have_one_replica(self):
        for where, thing in self.each("StatefulSet"):
            if where.endswith(("-directory", "-standalone")):
                self.assertEqual(thing["spec"]["replicas"], 1, where)

    def test_stateless_services_survive_a_rollout_and_the_loss_of_a_node(self):
        for where, thing in self.each("Deployment"):
            if where.endswith("-probe"):
                continue
            self.assertEqual(thing["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0, where)
            self.assertGreaterEqual(thing["spec"].get("replicas", 2), 2, where)

    def test_pods_of_stateless_services_leave_a_lost_node_and_those_of_stores_wait(self):
        for where, thing in self.each(*HEALTHY_KINDS):
            if where.endswith("-probe"):
                continue
            after = {t["key"]: t["tolerationSeconds"] for t in chart.pod_spec(thing).get("tolerations", []) if t.get("effect") == "NoExecute"}
            lost = {"node.kubernetes.io/unreachable": 60, "node.kubernetes.io/not-ready": 60}
            self.assertEqual(after, lost if thing["kind"] == "Deployment" else {}, where)

    def test_pods_of_a_rollout_spread_among_themselves(self):
        for where, thing in self.each("Deployment"):
            spec = chart.pod_spec(thing)
            if where.endswith("-probe"):
                continue
            terms = [t["podAffinityTerm"] for t in spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]]
            for each in terms + spec["topologySpreadConstraints"]:
                self.assertEqual(each["matchLabelKeys"], ["pod-template-hash"], where)

    def test_no_pod_must_be_on_a_node_or_in_a_zone_of_its_own(self):
        for where, thing in self.each(*HEALTHY_KINDS):
            spec = chart.pod_spec(thing)
            self.assertNotIn("requiredDuringSchedulingIgnoredDuringExecution", spec.get("affinity", {}).get("podAntiAffinity", {}), where)
            for each in spec.get("topologySpreadConstraints", []):
                self.assertEqual(each["whenUnsatisfiable"], "ScheduleAnyway", where)

    def test_what_a_hook_mounts_is_there_before_it(self):
        for where, thing, spec in self.each_pod():
            hooks = thing["metadata"].get("annotations", {})
            if "helm.sh/hook" not in hooks:
                continue
            for volume in spec["volumes"]:
                made = [t for t in RENDERED[where.split(":")[0]] if (t["kind"], t["metadata"]["name"]) == ("Secret", volume["secret"]["secretName"])]
                for secret in made:
                    notes = secret["metadata"].get("annotations", {})
                    if "helm.sh/hook" in notes:
                        self.assertEqual(notes["helm.sh/hook"], hooks["helm.sh/hook"], where)
                        self.assertLess(int(notes["helm.sh/hook-weight"]), int(hooks.get("helm.sh/hook-weight", 0)), where)

    def test_hooks_wait_for_the_services_and_so_survive_kubectl_apply_of_a_whole_rendering(self):
        for where, thing, spec in self.each_pod():
            if "helm.sh/hook" in thing["metadata"].get("annotations", {}):
                first = chart.containers(spec)[0]
                self.assertEqual(first["command"][1], "ping", where)
                seconds = next(int(w.split("=")[1]) for w in first["command"] if w.startswith("--wait="))
                self.assertTrue(120 <= seconds < 300, where)  # Helm waits five minutes

    def test_a_job_has_another_name_when_its_pods_change_since_a_job_cannot_change(self):
        first = {"bootstrap": {"enabled": True, "account": "a@example.org"}}
        names = [next(t["metadata"]["name"] for t in chart.render(v) if t["kind"] == "Job")
                 for v in (first, first, {**first, "image": {"tag": "0.3.0"}}, {**first, "pod": {"nodeSelector": {"a": "b"}}})]
        self.assertEqual(names[0], names[1])
        self.assertEqual(len(set(names)), 3)

    def test_objects_fit_into_the_annotation_of_kubectl_apply(self):
        for where, thing in self.each():
            self.assertLess(len(json.dumps(thing)), 262144, where)

    def test_hook_jobs_end(self):
        for where, thing in self.each("Job"):
            self.assertIn("backoffLimit", thing["spec"], where)
            self.assertIn("ttlSecondsAfterFinished", thing["spec"], where)
            self.assertIn(chart.pod_spec(thing)["restartPolicy"], ("Never", "OnFailure"), where)


class Secrets(Policy):
    def test_no_configuration_has_a_secret_in_it(self):
        for where, thing in self.each("ConfigMap"):
            for text in thing.get("data", {}).values():
                self.assertNotRegex(text, r"(?i)-----BEGIN|\b(password|secret|token): ", where)

    def test_no_argument_and_no_annotation_has_a_password(self):
        for where, _, _, container in self.each_container():
            for word in container.get("command", []) + container.get("args", []):
                self.assertNotRegex(word, r"--password[= ](?!-file)", where)

    def test_keys_of_the_chart_are_pem_of_their_certificates(self):
        for where, thing in self.each("Secret"):
            for key, value in thing.get("data", {}).items():
                plain = base64.b64decode(value)
                if key.endswith((".crt", ".key")):
                    self.assertTrue(plain.startswith(b"-----BEGIN "), "%s %s" % (where, key))
                else:
                    self.assertGreaterEqual(len(plain), 20, "%s %s" % (where, key))

    def test_nothing_secret_is_rendered_when_all_secrets_exist(self):
        # But for the password of the account that `helm test` makes and deletes.
        for name in ("06-cert-manager", "07-existing-secrets"):
            self.assertEqual([chart.key(t) for t in RENDERED[name] if t["kind"] == "Secret"], ["Secret/posthouse-test"])

    def test_the_authority_and_passwords_that_the_chart_makes_stay_after_an_uninstallation(self):
        kept = [t["metadata"]["name"] for t in RENDERED["12-first-mail"] if t["kind"] == "Secret"
                and t["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"]
        self.assertEqual(sorted(kept), ["posthouse-account", "posthouse-ca"])

    def test_only_the_pods_of_the_administrator_mount_its_certificate(self):
        for where, thing, spec in self.each_pod():
            names = [v["secret"]["secretName"] for v in spec.get("volumes", []) if "secret" in v]
            if chart.pod_labels(thing).get("app.kubernetes.io/component") != "admin":
                self.assertFalse([n for n in names if "admin" in n or n in ("mtls-g", "posthouse-ca")], where)


class Networks(Policy):
    def policies(self, name):
        return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for t in RENDERED[name] if t["kind"] == "NetworkPolicy"}

    def test_each_pod_is_under_a_policy_for_both_directions(self):
        for where, thing, _ in self.each_pod():
            policies = [t for t in RENDERED[where.split(":")[0]] if t["kind"] == "NetworkPolicy"]
            own = [p for p in policies if matches(p["spec"]["podSelector"], chart.pod_labels(thing))]
            self.assertEqual(len(own), 1, where)
            self.assertEqual(own[0]["spec"]["policyTypes"], ["Ingress", "Egress"], where)

    def test_the_edges_between_services_are_those_of_the_table_of_callers(self):
        for name in RENDERED:
            policies = self.policies(name)
            if "standalone" in policies:
                continue
            rpc = {chart.pod_labels(w)["app.kubernetes.io/component"]: p["containerPort"] for w in self.workloads(name) if w["kind"] in HEALTHY_KINDS
                   for c in chart.containers(chart.pod_spec(w)) for p in c.get("ports", []) if p["name"] == "rpc"}
            into, out = set(), set()
            for component, policy in policies.items():
                for rule in policy["spec"]["ingress"] or []:
                    if component in rpc and rpc[component] in [p.get("port") for p in rule.get("ports", [])]:
                        for peer in rule["from"]:
                            into |= {(c, component) for c in peer["podSelector"]["matchExpressions"][0]["values"]}
                for rule in policy["spec"]["egress"]:
                    for peer in rule.get("to", []):
                        callee = peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
                        if callee:
                            self.assertIn(rpc[callee], [p["port"] for p in rule["ports"]], name)
                            out.add((component, callee))
            services = set(policies) - {"admin"}
            wanted = EDGES | {("admin", s) for s in services}
            self.assertEqual(into, wanted, name)
            self.assertEqual(out, wanted, name)

    def test_only_queue_sends_mail_out(self):
        for name in RENDERED:
            for component, policy in self.policies(name).items():
                ports = {p["port"] for r in policy["spec"]["egress"] for p in r.get("ports", [])}
                self.assertEqual(25 in ports, component in ("queue", "standalone"), "%s %s" % (name, component))

    def test_ports_of_policies_exist_in_the_pods(self):
        for where, thing in self.each("NetworkPolicy"):
            pods = [p for p in self.pods_of(where, thing["spec"]["podSelector"])]
            ports = {p["containerPort"] for pod in pods for c in chart.containers(chart.pod_spec(pod)) for p in c.get("ports", [])}
            for rule in thing["spec"]["ingress"] or []:
                for port in rule.get("ports", []):
                    if pods and "admin" not in where:
                        self.assertIn(port["port"], ports, where)

    def test_policies_have_numbers_for_ports(self):
        # Cilium resolves a name in a rule for traffic out among all pods, and allows nothing when the name has two numbers, as "rpc" has six.
        for where, thing in self.each("NetworkPolicy"):
            for rule in (thing["spec"]["ingress"] or []) + thing["spec"]["egress"]:
                for port in rule.get("ports", []):
                    self.assertIsInstance(port["port"], int, where)

    def test_dns_is_allowed_for_each_pod(self):
        for where, thing in self.each("NetworkPolicy"):
            allowed = {(p["port"], p.get("protocol")) for r in thing["spec"]["egress"] for p in r.get("ports", [])}
            self.assertLessEqual({(53, "UDP"), (53, "TCP")}, allowed, where)

    def test_services_for_the_world_keep_the_address_of_the_client(self):
        for where, thing in self.each("Service"):
            spec = thing["spec"]
            if spec.get("type") in ("LoadBalancer", "NodePort") and not where.startswith("02-standalone: Service/posthouse-submission"):
                self.assertEqual(spec["externalTrafficPolicy"], "Local", where)
            if spec.get("clusterIP") == "None":
                self.assertNotIn("type", spec, where)

    def test_rpc_and_http_are_on_headless_services_only(self):
        for where, thing in self.each("Service"):
            internal = {"rpc", "http"} & {p["name"] for p in thing["spec"]["ports"]}
            self.assertEqual(bool(internal), thing["spec"].get("clusterIP") == "None", where)

    def test_listeners_behind_the_proxy_protocol_are_for_the_load_balancers_only(self):
        values = {"proxyProtocol": {"enabled": True, "trustedCIDRs": ["192.0.2.0/28", "2001:db8::7", "192.0.2.77"], "families": ["smtp", "imap"]}}
        policies = {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for t in chart.render(values) if t["kind"] == "NetworkPolicy"}
        for component, proxied, direct in (("ingress", [12525], [2525, 2587, 2465]), ("gateway", [12143, 12993], [2143, 2993, 2110, 2995])):
            rules = policies[component]["spec"]["ingress"]
            closed, = [r for r in rules if [p["port"] for p in r["ports"]] == proxied]
            self.assertEqual(closed["from"], [{"ipBlock": {"cidr": c}} for c in ("192.0.2.0/28", "2001:db8::7/128", "192.0.2.77/32")])
            self.assertEqual([r for r in rules if [p["port"] for p in r["ports"]] == direct], [{"ports": [{"port": p, "protocol": "TCP"} for p in direct]}])

    def test_load_balancers_reach_the_ports_for_the_proxy_protocol_and_pods_the_plain_ones(self):
        services = {t["metadata"]["name"]: t["spec"] for t in RENDERED["08-proxy-protocol"] if t["kind"] == "Service"}
        targets = {name: [p["targetPort"] for p in spec["ports"]] for name, spec in services.items()}
        self.assertEqual((targets["posthouse-smtp"], targets["posthouse-smtp-direct"]), (["smtp-pp"], ["smtp"]))
        self.assertEqual(targets["posthouse-submission"], ["submission-pp", "submissions-pp"])
        self.assertEqual(targets["posthouse-imap"], ["imap", "imaps"])  # not among the families
        self.assertEqual([n for n, s in services.items() if n.endswith("-direct") and s["type"] != "ClusterIP"], [])
        probe = next(t for t in RENDERED["08-proxy-protocol"] if t["metadata"]["name"] == "posthouse-test-mail")
        words = [w for c in chart.containers(probe["spec"]) for w in c["command"]]
        self.assertIn("--no-relay=posthouse-smtp-direct.mail.svc.cluster.local:25", words)
        self.assertIn("--imaps=posthouse-imap.mail.svc.cluster.local:993", words)

    def test_a_port_that_speaks_tls_is_not_announced_as_plain_http_2(self):
        for where, thing in self.each("Service"):
            for port in thing["spec"]["ports"]:
                self.assertTrue(port["name"] == "http" or "appProtocol" not in port, where)

    def test_the_families_of_addresses_are_those_of_the_values(self):
        two = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}
        values = {"listenAddress": "::", "headless": two, "services": {f: two for f in ("smtp", "submission", "imap", "pop3")}}
        services = [t for t in chart.render(values) if t["kind"] == "Service"]
        self.assertEqual(len(services), 10)
        for service in services:
            self.assertEqual({k: service["spec"][k] for k in two}, two, chart.key(service))

    def test_nothing_waits_for_a_load_balancer_unless_a_value_says_so(self):
        for where, thing in self.each("Service"):
            if where.startswith("01-"):
                self.assertIn(thing["spec"].get("type", "ClusterIP"), ("ClusterIP",), where)

    def test_an_address_outside_of_the_cluster_keeps_the_address_of_the_client(self):
        service = next(t for t in chart.render({"services": {"smtp": {"externalIPs": ["192.0.2.1"]}}}) if t["metadata"]["name"] == "posthouse-smtp")
        self.assertEqual(service["spec"]["externalTrafficPolicy"], "Local")

    def test_a_policy_without_readers_of_metrics_opens_no_http_port(self):
        for policy in self.policies("14-bare").values():
            self.assertNotIn(9400, [p.get("port") for r in policy["spec"]["ingress"] or [] for p in r.get("ports", [])])


class Once(Policy):
    def test_the_pods_restart_for_what_their_process_does_not_load_again(self):
        one = {t["metadata"]["name"]: t for t in chart.render({"config": {"blocking_threads": 4}}) if t["kind"] in HEALTHY_KINDS}
        for where, thing in self.each(*HEALTHY_KINDS):
            if where.startswith("01-"):
                notes = [t["spec"]["template"]["metadata"]["annotations"] for t in (thing, one[thing["metadata"]["name"]])]
                self.assertNotEqual(notes[0], notes[1], where)

    def test_two_renderings_of_one_set_of_values_restart_no_pod(self):
        again = {chart.key(t): t for t in chart.render({}) if t["kind"] in HEALTHY_KINDS}
        for where, thing in self.each(*HEALTHY_KINDS):
            if where.startswith("01-"):
                self.assertEqual(thing["spec"]["template"], again[chart.key(thing)]["spec"]["template"], where)


if __name__ == "__main__":
    unittest.main(verbosity=2)
