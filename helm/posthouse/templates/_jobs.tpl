{{- /* The template of a pod that administers or probes. Input: root, containers, initContainers, password (Secret and key), restartPolicy, annotations. */ -}}
{{- define "posthouse.adminPod" -}}
metadata:
  labels:
    {{- include "posthouse.labels" .root | nindent 4 }}
    app.kubernetes.io/component: admin
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
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
{{- end }}

{{- /* A container of such a pod. Input: root, name, command (list), password (whether it reads one), port. */ -}}
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
{{- end }}

{{- define "posthouse.probeCommand" -}}
{{- $full := include "posthouse.fullname" . -}}
{{- $at := printf "%s.svc.%s" .Release.Namespace .Values.clusterDomain -}}
- /usr/bin/posthouse
- probe
- --account={{ include "posthouse.probeAccount" . }}
- --password-file=/run/posthouse/password/{{ include "posthouse.probeKey" . }}
- --tls-name={{ .Values.hostname }}
{{- if eq .Values.tls.mode "chart" }}
- --tls-ca=/run/posthouse/tls/tls.crt
{{- end }}
- --submissions={{ $full }}-submission.{{ $at }}:{{ .Values.services.submission.ports.submissions }}
- --imaps={{ $full }}-imap.{{ $at }}:{{ .Values.services.imap.ports.imaps }}
- --pop3s={{ $full }}-pop3.{{ $at }}:{{ .Values.services.pop3.ports.pop3s }}
{{- if and .Values.services.smtp.enabled (gt (int .Values.services.smtp.ports.smtp) 0) }}
- --no-relay={{ $full }}-smtp.{{ $at }}:{{ .Values.services.smtp.ports.smtp }}
{{- end }}
{{- end }}
