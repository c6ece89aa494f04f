{{- define "posthouse.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{- /* Labels that never change: selectors. */ -}}
{{- define "posthouse.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "posthouse.labels" -}}
{{ include "posthouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: posthouse
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* metadata of an object. Input: root, name, component, annotations, labels, namespace. */ -}}
{{- define "posthouse.meta" -}}
name: {{ .name }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "posthouse.labels" .root | nindent 2 }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "posthouse.image" -}}
{{- $i := .Values.image -}}
{{- $registry := default $i.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end }}{{ $i.repository }}:{{ default .Chart.AppVersion $i.tag }}{{ with $i.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "posthouse.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "posthouse.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end -}}
{{- end }}

{{- /* The services of this mode. */ -}}
{{- define "posthouse.components" -}}
{{- if eq .Values.deploymentMode "standalone" }}standalone{{ else }}directory routing mailbox queue ingress gateway{{ end -}}
{{- end }}

{{- define "posthouse.stateful" -}}
{{- if has . (list "directory" "queue" "mailbox" "standalone") }}yes{{ end -}}
{{- end }}

{{- define "posthouse.replicas" -}}
{{- $own := get .root.Values .component -}}
{{- if has .component (list "directory" "standalone") }}1
{{- else if gt (int $own.replicas) 0 }}{{ int $own.replicas }}
{{- else }}{{ get (include "posthouse.preset" .root | fromYaml).replicas .component | int }}{{ end -}}
{{- end }}

{{- /* The claim template of a store that is in the cluster, as JSON; null without one. A StatefulSet cannot change it. */ -}}
{{- define "posthouse.claim" -}}
{{- $set := lookup "apps/v1" "StatefulSet" .root.Release.Namespace (printf "%s-%s" (include "posthouse.fullname" .root) .component) -}}
{{- $claim := dict -}}
{{- if $set -}}{{- range $set.spec.volumeClaimTemplates -}}{{- $claim = . -}}{{- end -}}{{- end -}}
{{ toJson $claim }}
{{- end }}

{{- /* The size of a store's volume: the value, the one in the cluster, or the preset's. Another preset keeps the volumes of before. */ -}}
{{- define "posthouse.volumeSize" -}}
{{- $size := (get .root.Values .component).persistence.size -}}
{{- $claim := include "posthouse.claim" . | fromJson -}}
{{- if and (not $size) $claim -}}{{- $size = $claim.spec.resources.requests.storage -}}{{- end -}}
{{ default (get (include "posthouse.preset" .root | fromYaml).disk .component) $size }}
{{- end }}

{{- define "posthouse.rpcPort" -}}
{{ get (dict "standalone" 7400 "ingress" 7400 "routing" 7401 "queue" 7402 "mailbox" 7403 "gateway" 7404 "directory" 7405) . }}
{{- end }}

{{- /* The headless Service's name, as certificates and targets have it. */ -}}
{{- define "posthouse.host" -}}
{{ include "posthouse.fullname" .root }}-{{ .component }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{- /* The processes of a service that are peers by themselves, the pods of a StatefulSet: one shard with a range of ordinals. Input: root, component. */ -}}
{{- define "posthouse.shardRange" -}}
{{- $pod := printf "%s-%s-{0..%d}" (include "posthouse.fullname" .root) .component (include "posthouse.replicas" . | int | add -1) -}}
{{ dict "name" $pod "target" (printf "dns:///%s.%s:%s" $pod (include "posthouse.host" .) (include "posthouse.rpcPort" .component)) | list | toJson }}
{{- end }}

{{- /* The same as a list of names and hosts, for flags of posthousectl. */ -}}
{{- define "posthouse.shards" -}}
{{- $name := printf "%s-%s" (include "posthouse.fullname" .root) .component -}}
{{- range $i := until (include "posthouse.replicas" . | int) }}
- {name: {{ $name }}-{{ $i }}, host: {{ $name }}-{{ $i }}.{{ include "posthouse.host" $ }}}
{{- end }}
{{- end }}

{{- define "posthouse.mtlsSecret" -}}
{{- if eq .root.Values.internalTLS.mode "existingSecrets" }}{{ get .root.Values.internalTLS.existingSecrets .component }}
{{- else }}{{ include "posthouse.fullname" .root }}-{{ .component }}-mtls{{ end -}}
{{- end }}

{{- define "posthouse.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret }}{{ else }}{{ include "posthouse.fullname" . }}-tls{{ end -}}
{{- end }}

{{- /* DNS names in the certificate of a service. The first one is its identity. "localhost" serves kubectl port-forward. */ -}}
{{- define "posthouse.certificateNames" -}}
{{- $short := printf "%s-%s.%s.svc" (include "posthouse.fullname" .root) .component .root.Release.Namespace -}}
{{- $long := include "posthouse.host" . -}}
{{- if eq .component "admin" }}{{ list $short | toJson }}
{{- else if include "posthouse.stateful" .component }}{{ list $short $long (printf "*.%s" $short) (printf "*.%s" $long) "localhost" | toJson }}
{{- else }}{{ list $short $long "localhost" | toJson }}{{ end -}}
{{- end }}

{{- /* Listeners of a service: family, name, port in the pod, and the port for connections with a PROXY header. */ -}}
{{- define "posthouse.listeners" -}}
{{- $in := list (dict "family" "smtp" "name" "smtp" "port" 2525 "proxyPort" 12525) (dict "family" "submission" "name" "submission" "port" 2587 "proxyPort" 12587) (dict "family" "submission" "name" "submissions" "port" 2465 "proxyPort" 12465) -}}
{{- $gw := list (dict "family" "imap" "name" "imap" "port" 2143 "proxyPort" 12143) (dict "family" "imap" "name" "imaps" "port" 2993 "proxyPort" 12993) (dict "family" "pop3" "name" "pop3" "port" 2110 "proxyPort" 12110) (dict "family" "pop3" "name" "pop3s" "port" 2995 "proxyPort" 12995) -}}
{{- if eq . "ingress" }}{{ toJson $in }}{{ else if eq . "gateway" }}{{ toJson $gw }}{{ else if eq . "standalone" }}{{ toJson (concat $in $gw) }}{{ else }}[]{{ end -}}
{{- end }}

{{- define "posthouse.listens" -}}
{{- $s := get .root.Values.services .listener.family -}}
{{- if and $s.enabled (gt (int (get $s.ports .listener.name)) 0) }}yes{{ end -}}
{{- end }}

{{- /* Whether the Service of a family leads to the listeners for the PROXY protocol. Input: root, family. */ -}}
{{- define "posthouse.proxied" -}}
{{- if and .root.Values.proxyProtocol.enabled (has .family .root.Values.proxyProtocol.families) }}yes{{ end -}}
{{- end }}

{{- /* HOST:PORT at which pods reach a listener without a PROXY header; empty when there is no such listener. Input: root, family, name. */ -}}
{{- define "posthouse.mailTarget" -}}
{{- if include "posthouse.listens" (dict "root" .root "listener" .) -}}
{{- $direct := ternary "-direct" "" (eq (include "posthouse.proxied" .) "yes") -}}
{{ include "posthouse.fullname" .root }}-{{ .family }}{{ $direct }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}:{{ get (get .root.Values.services .family).ports .name }}
{{- end -}}
{{- end }}

{{- /* The account of the probe: address, Secret and key. */ -}}
{{- define "posthouse.probeAccount" -}}{{ default .Values.bootstrap.account .Values.probe.account }}{{- end }}
{{- define "posthouse.bootstrapSecret" -}}{{ default (printf "%s-account" (include "posthouse.fullname" .)) .Values.bootstrap.existingSecret }}{{- end }}
{{- define "posthouse.probeSecret" -}}{{ default (include "posthouse.bootstrapSecret" .) .Values.probe.existingSecret }}{{- end }}
{{- define "posthouse.probeKey" -}}{{ ternary .Values.probe.passwordKey .Values.bootstrap.passwordKey (ne .Values.probe.existingSecret "") }}{{- end }}

{{- /* Flags of posthousectl for the services of this release. */ -}}
{{- define "posthouse.targets" -}}
{{- if eq .Values.deploymentMode "standalone" }}
- --server={{ include "posthouse.host" (dict "root" . "component" "standalone") }}:7400
{{- else }}
{{- $root := . }}
- --directory={{ include "posthouse.host" (dict "root" . "component" "directory") }}:7405
- --routing={{ include "posthouse.host" (dict "root" . "component" "routing") }}:7401
{{- range include "posthouse.shards" (dict "root" $root "component" "queue") | fromYamlArray }}
- --queue={{ .host }}:7402
{{- end }}
{{- range include "posthouse.shards" (dict "root" $root "component" "mailbox") | fromYamlArray }}
- --mailbox={{ .host }}:7403
{{- end }}
- --edge={{ include "posthouse.host" (dict "root" . "component" "ingress") }}:7400
- --edge={{ include "posthouse.host" (dict "root" . "component" "gateway") }}:7404
{{- end }}
{{ include "posthouse.adminTLS" . }}
{{- end }}

{{- define "posthouse.adminTLS" -}}
- --ca=/run/posthouse/mtls/ca.crt
- --cert=/run/posthouse/mtls/tls.crt
- --key=/run/posthouse/mtls/tls.key
{{- end }}

{{- /* The flag with the target of what bootstrap needs. */ -}}
{{- define "posthouse.directoryTarget" -}}
{{- if eq .Values.deploymentMode "standalone" }}--server={{ include "posthouse.host" (dict "root" . "component" "standalone") }}:7400
{{- else }}--directory={{ include "posthouse.host" (dict "root" . "component" "directory") }}:7405{{ end -}}
{{- end }}
