{{- define "posthouse.podSecurityContext" -}}
runAsNonRoot: true
{{- if not .Values.openshift.enabled }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "posthouse.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "posthouse.podEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}

{{- define "posthouse.pullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.image.pullSecrets | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Where and as whom a pod runs. Input: root, pod (the merged `pod` values), stateless. */ -}}
{{- define "posthouse.podPlace" -}}
{{- $pod := .pod -}}
serviceAccountName: {{ include "posthouse.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "posthouse.pullSecrets" .root }}
securityContext:
  {{- include "posthouse.podSecurityContext" .root | nindent 2 }}
{{- with $pod.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := $pod.tolerations -}}
{{- if .stateless -}}
{{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $pod.nodeLossSeconds)) -}}
{{- end -}}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $pod.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- end }}

{{- /* The resources of a service. Input: root, component. */ -}}
{{- define "posthouse.resources" -}}
{{- $own := get .root.Values .component -}}
{{- if $own.resources }}
{{- toYaml $own.resources }}
{{- else }}
{{- $r := get (include "posthouse.preset" .root | fromYaml).resources .component -}}
requests: {cpu: {{ $r.cpu | quote }}, memory: {{ $r.memory }}}
limits: {memory: {{ $r.limit }}}
{{- end }}
{{- end }}

{{- /* The pod template of a service. Input: root, component. */ -}}
{{- define "posthouse.podTemplate" -}}
{{- $v := .root.Values -}}
{{- $root := .root -}}
{{- $c := .component -}}
{{- $own := get $v $c -}}
{{- $name := printf "%s-%s" (include "posthouse.fullname" .root) $c -}}
{{- $pod := mergeOverwrite (deepCopy $v.pod) $own.pod -}}
{{- $selector := dict "app.kubernetes.io/component" $c -}}
{{- $selector = merge $selector (include "posthouse.selector" .root | fromYaml) -}}
metadata:
  labels:
    {{- include "posthouse.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ $c }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The processes load changed files by themselves. Pods restart for the keys that need it, and not for the reloadable ones.
    checksum/config: {{ include "posthouse.configForRestart" . | sha256sum }}
    kubectl.kubernetes.io/default-container: {{ $c }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "posthouse.podPlace" (dict "root" .root "pod" $pod "stateless" (not (include "posthouse.stateful" $c))) | nindent 2 }}
  terminationGracePeriodSeconds: {{ add (int $own.shutdown.preStopSeconds) (int $own.shutdown.drainSeconds) (int $own.shutdown.marginSeconds) }}
  affinity:
    {{- if $pod.affinity }}
    {{- toYaml $pod.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- toYaml $selector | nindent 16 }}
            {{- if not (include "posthouse.stateful" $c) }}
            # A rollout spreads the new pods among themselves; with the old ones counted, the last two may share a node.
            matchLabelKeys: [pod-template-hash]
            {{- end }}
    {{- end }}
  topologySpreadConstraints:
    {{- if $pod.topologySpreadConstraints }}
    {{- toYaml $pod.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- toYaml $selector | nindent 10 }}
      {{- if not (include "posthouse.stateful" $c) }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
    {{- end }}
  containers:
    - name: {{ $c }}
      image: {{ include "posthouse.image" .root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      command: [/usr/bin/posthouse, {{ $c }}, --config, /etc/posthouse/config.yaml]
      securityContext:
        {{- include "posthouse.securityContext" .root | nindent 8 }}
      env:
        {{- include "posthouse.podEnv" . | nindent 8 }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: 9400}
        - {name: rpc, containerPort: {{ include "posthouse.rpcPort" $c }}}
        {{- range include "posthouse.listeners" $c | fromJsonArray }}
        {{- if include "posthouse.listens" (dict "root" $root "listener" .) }}
        - {name: {{ .name }}, containerPort: {{ .port }}}
        {{- if include "posthouse.proxied" (dict "root" $root "family" .family) }}
        - {name: {{ .name }}-pp, containerPort: {{ .proxyPort }}}
        {{- end }}
        {{- end }}
        {{- end }}
      # Probes by HTTP: the kubelet has no client certificate for the gRPC port. /livez answers after the store is open.
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: {{ div (add1 (int $own.startup.seconds)) 2 }}
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep: {seconds: {{ int $own.shutdown.preStopSeconds }}}
      resources:
        {{- include "posthouse.resources" . | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/posthouse, readOnly: true}
        - {name: mtls, mountPath: /run/posthouse/mtls, readOnly: true}
        - {name: data, mountPath: /var/lib/posthouse}
        - {name: tmp, mountPath: /tmp}
        {{- if and $v.backup.enabled (include "posthouse.stateful" $c) }}
        - {name: backups, mountPath: /backups}
        {{- end }}
        {{- if has $c (list "ingress" "gateway" "standalone") }}
        - {name: tls, mountPath: /run/posthouse/tls/0, readOnly: true}
        {{- range $i, $_ := $v.tls.additionalSecrets }}
        - {name: tls-{{ add1 $i }}, mountPath: /run/posthouse/tls/{{ add1 $i }}, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ $name }}}
    - name: mtls
      secret: {secretName: {{ include "posthouse.mtlsSecret" . }}, defaultMode: 0440}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if and $v.backup.enabled (include "posthouse.stateful" $c) }}
    - name: backups
      persistentVolumeClaim: {claimName: {{ $v.backup.existingClaim }}}
    {{- end }}
    {{- if not (include "posthouse.stateful" $c) }}
    - name: data  # only the socket of posthousectl
      emptyDir: {sizeLimit: 16Mi}
    {{- end }}
    {{- if has $c (list "ingress" "gateway" "standalone") }}
    - name: tls
      secret: {secretName: {{ include "posthouse.tlsSecret" .root }}, defaultMode: 0440}
    {{- range $i, $secret := $v.tls.additionalSecrets }}
    - name: tls-{{ add1 $i }}
      secret: {secretName: {{ $secret }}, defaultMode: 0440}
    {{- end }}
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
