{{- /* The template of a pod that administers or probes. Input: root, containers, initContainers, secret (with a password), caSecret, restartPolicy. */ -}}
{{- define "posthouse.adminPod" -}}
metadata:
  labels:
    {{- include "posthouse.labels" .root | nindent 4 }}
    app.kubernetes.io/component: admin
spec:
  {{- include "posthouse.podPlace" (dict "root" .root "pod" .root.Values.pod) | nindent 2 }}
  restartPolicy: {{ default "Always" .restartPolicy }}
  {{- with .initContainers }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    {{- .containers | nindent 4 }}
  volumes:
    - name: mtls
      secret: {secretName: {{ include "posthouse.mtlsSecret" (dict "root" .root "component" "admin") }}, defaultMode: 0440}
    - name: tls
      secret: {secretName: {{ include "posthouse.tlsSecret" .root }}, defaultMode: 0440, items: [{key: tls.crt, path: tls.crt}]}
    {{- with .secret }}
    - name: password
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with .caSecret }}
    - name: ca
      secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
    {{- end }}
{{- end }}

{{- /* A container of such a pod. Input: root, name, command (list), targets (whether it needs the flags for all services), password and ca (whether it reads them), port. */ -}}
{{- define "posthouse.adminContainer" -}}
- name: {{ .name }}
  image: {{ include "posthouse.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command:
    {{- toYaml .command | nindent 4 }}
  {{- if .targets }}
    {{- include "posthouse.targets" .root | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "posthouse.securityContext" .root | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  {{- if .port }}
  ports:
    - {name: http, containerPort: 9400}
  startupProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 2
    failureThreshold: 30
  livenessProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 2
  {{- end }}
  volumeMounts:
    - {name: mtls, mountPath: /run/posthouse/mtls, readOnly: true}
    - {name: tls, mountPath: /run/posthouse/tls, readOnly: true}
    {{- if .password }}
    - {name: password, mountPath: /run/posthouse/password, readOnly: true}
    {{- end }}
    {{- if .ca }}
    - {name: ca, mountPath: /run/posthouse/ca, readOnly: true}
    {{- end }}
{{- end }}

{{- /* A round of the probe. Input: root, account, key (of the Secret with its password). */ -}}
{{- define "posthouse.probeCommand" -}}
{{- $v := .root.Values -}}
- /usr/bin/posthouse
- probe
- --account={{ .account }}
- --password-file=/run/posthouse/password/{{ .key }}
- --tls-name={{ $v.hostname }}
{{- if eq $v.tls.mode "chart" }}
- --tls-ca=/run/posthouse/tls/tls.crt
{{- else if $v.probe.caSecret }}
- --tls-ca=/run/posthouse/ca/ca.crt
{{- end }}
- --submissions={{ include "posthouse.mailTarget" (dict "root" .root "family" "submission" "name" "submissions") }}
- --imaps={{ include "posthouse.mailTarget" (dict "root" .root "family" "imap" "name" "imaps") }}
{{- with include "posthouse.mailTarget" (dict "root" .root "family" "pop3" "name" "pop3s") }}
- --pop3s={{ . }}
{{- end }}
{{- with include "posthouse.mailTarget" (dict "root" .root "family" "smtp" "name" "smtp") }}
- --no-relay={{ . }}
{{- end }}
{{- end }}

{{- /* Whether the probe can send and read: the listeners that it needs exist. */ -}}
{{- define "posthouse.canProbe" -}}
{{- if and (include "posthouse.mailTarget" (dict "root" . "family" "submission" "name" "submissions")) (include "posthouse.mailTarget" (dict "root" . "family" "imap" "name" "imaps")) }}yes{{ end -}}
{{- end }}

{{- /* A container that waits until the services that `targets` name are ready. Input: root, seconds, targets (flags; empty: all services). */ -}}
{{- define "posthouse.waitContainer" -}}
{{- $command := list "/usr/bin/posthousectl" "ping" (printf "--wait=%d" (int .seconds)) -}}
{{- if .targets }}{{ $command = concat $command .targets (include "posthouse.adminTLS" .root | fromYamlArray) }}{{ end -}}
{{- include "posthouse.adminContainer" (dict "root" .root "name" "wait" "command" $command "targets" (not .targets)) }}
{{- end }}
