{{- /* The configuration file of a service. Input: root, component. */ -}}
{{- define "posthouse.config" -}}
{{- $v := .root.Values -}}
{{- $root := .root -}}
{{- $c := .component -}}
{{- $own := get $v $c -}}
{{- $preset := include "posthouse.preset" .root | fromYaml -}}
{{- $config := dict "hostname" $v.hostname "log_level" $v.config.log_level "drain_timeout" (printf "%ds" (int $own.shutdown.drainSeconds)) -}}
{{- range $key := list "io_threads" "blocking_threads" -}}
{{- if gt (int (get $v.config $key)) 0 -}}{{- $_ := set $config $key (int (get $v.config $key)) -}}{{- end -}}
{{- end -}}
{{- $_ := set $config "http" (dict "address" $v.listenAddress "port" 9400) -}}
{{- $identities := list -}}
{{- range list "ingress" "routing" "directory" "queue" "mailbox" "gateway" "admin" -}}
{{- $name := include "posthouse.certificateNames" (dict "root" $root "component" .) | fromJsonArray | first -}}
{{- $identities = append $identities (dict "certificate" $name "caller" .) -}}
{{- end -}}
{{- $rpc := dict "address" $v.listenAddress "port" (include "posthouse.rpcPort" $c | int) "certificate_file" "/run/posthouse/mtls/tls.crt" "private_key_file" "/run/posthouse/mtls/tls.key" "ca_file" "/run/posthouse/mtls/ca.crt" "socket" "/var/lib/posthouse/posthouse.sock" "identities" $identities -}}
{{- $_ := set $config "rpc" $rpc -}}
{{- with $v.tracing -}}
{{- if .endpoint -}}
{{- $_ := set $config "tracing" (dict "endpoint" .endpoint "sampling_ratio" .samplingRatio) -}}
{{- if .caFile -}}{{- $_ := set $config.tracing "ca_file" .caFile -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $target := dict -}}
{{- range list "directory" "routing" -}}
{{- $_ := set $target . (printf "dns:///%s:%s" (include "posthouse.host" (dict "root" $root "component" .)) (include "posthouse.rpcPort" .)) -}}
{{- end -}}
{{- $peers := dict -}}
{{- if has $c (list "ingress" "routing" "gateway" "mailbox") -}}{{- $_ := set $peers "directory" $target.directory -}}{{- $_ := set $peers "directory_shard" (printf "%s-directory-0" (include "posthouse.fullname" $root)) -}}{{- end -}}
{{- if has $c (list "ingress" "queue") -}}{{- $_ := set $peers "routing" $target.routing -}}{{- end -}}
{{- if eq $c "ingress" -}}
{{- $_ := set $peers "queue_shards" (include "posthouse.shardRange" (dict "root" $root "component" "queue") | fromJsonArray) -}}
{{- end -}}
{{- if has $c (list "ingress" "queue" "gateway" "directory") -}}
{{- $_ := set $peers "mailbox" (include "posthouse.shardRange" (dict "root" $root "component" "mailbox") | fromJsonArray) -}}
{{- end -}}
{{- if $peers -}}{{- $_ := set $config "peers" $peers -}}{{- end -}}
{{- if include "posthouse.stateful" $c -}}
{{- $_ := set $config "data_dir" "/var/lib/posthouse" -}}
{{- $_ := set $config "store" (mergeOverwrite (dict) $preset.store $v.config.store) -}}
{{- with $v.backup -}}
{{- if .enabled -}}{{- $_ := set $config "backup" (dict "directory" "/backups" "max_bytes_per_second" (int64 .maxBytesPerSecond) "keep_last" (int .keepLast) "keep_for" .keepFor) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if has $c (list "ingress" "gateway" "standalone") -}}
{{- $certificates := list (dict "certificate_file" "/run/posthouse/tls/0/tls.crt" "private_key_file" "/run/posthouse/tls/0/tls.key") -}}
{{- range $i, $_ := $v.tls.additionalSecrets -}}
{{- $dir := printf "/run/posthouse/tls/%d" (add1 $i) -}}
{{- $certificates = append $certificates (dict "certificate_file" (printf "%s/tls.crt" $dir) "private_key_file" (printf "%s/tls.key" $dir)) -}}
{{- end -}}
{{- $_ := set $config "tls" (dict "certificates" $certificates) -}}
{{- end -}}
{{- $services := ternary (list "ingress" "routing" "directory" "queue" "mailbox" "gateway") (list $c) (eq $c "standalone") -}}
{{- range $s := $services -}}
{{- $section := deepCopy (get $v.config $s) -}}
{{- if hasKey $preset $s -}}{{- $section = mergeOverwrite (deepCopy (get $preset $s)) $section -}}{{- end -}}
{{- range include "posthouse.listeners" $s | fromJsonArray -}}
{{- $chart := dict "address" $v.listenAddress "port" (int .port) -}}
{{- if not (include "posthouse.listens" (dict "root" $root "listener" .)) -}}{{- $chart = dict "disabled" true -}}
{{- else if include "posthouse.proxied" (dict "root" $root "family" .family) -}}{{- $chart = merge $chart (dict "proxy_from" $v.proxyProtocol.trustedCIDRs "proxy_port" (int .proxyPort)) -}}{{- end -}}
{{- $_ := set $section .name (mergeOverwrite (deepCopy (default dict (get $section .name))) $chart) -}}
{{- end -}}
{{- if and (has $s (list "directory" "queue" "mailbox")) (ne $c "standalone") -}}{{- $_ := set $section "shard" "${POD_NAME}" -}}{{- end -}}
{{- if $section -}}{{- $_ := set $config $s $section -}}{{- end -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}
{{- /* The same without the keys that a running process applies. Input: root, component. */ -}}
{{- define "posthouse.configForRestart" -}}
{{- $config := include "posthouse.config" . | fromYaml -}}
{{- range .root.Files.Lines "files/reloadable-keys.txt" -}}
{{- $path := splitList "." . -}}
{{- if eq (len $path) 1 -}}{{- $_ := unset $config (first $path) -}}
{{- else if hasKey $config (first $path) -}}{{- $_ := unset (get $config (first $path)) (last $path) -}}
{{- end -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}
