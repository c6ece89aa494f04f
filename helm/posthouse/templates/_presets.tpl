{{- /*
Sizes by preset. Memory is the caches (block cache, write buffers, open folders, messages being received) and room for sessions and the
allocator; the limit of memory is a multiple of the request, since caches fill slowly and a kill costs more than idle memory.
Measured by tests/cluster/measure.py (docs/kubernetes.md, "Sizes").
*/ -}}
{{- define "posthouse.preset" -}}
{{- if eq .Values.preset "small" }}
replicas: {ingress: 2, routing: 2, gateway: 2, queue: 1, mailbox: 1}
resources:
  standalone: {cpu: 500m, memory: 768Mi, limit: 2Gi}
  ingress: {cpu: 100m, memory: 192Mi, limit: 768Mi}
  routing: {cpu: 50m, memory: 96Mi, limit: 256Mi}
  directory: {cpu: 100m, memory: 192Mi, limit: 512Mi}
  queue: {cpu: 100m, memory: 256Mi, limit: 768Mi}
  mailbox: {cpu: 200m, memory: 384Mi, limit: 1Gi}
  gateway: {cpu: 100m, memory: 192Mi, limit: 768Mi}
disk: {standalone: 20Gi, directory: 2Gi, queue: 10Gi, mailbox: 20Gi}
store: {block_cache_bytes: 64MiB, write_buffer_bytes: 32MiB}
mailbox: {folder_cache_bytes: 128MiB}
ingress: {message_memory_bytes: 128MiB}
{{- else if eq .Values.preset "medium" }}
replicas: {ingress: 3, routing: 2, gateway: 3, queue: 2, mailbox: 2}
resources:
  standalone: {cpu: "2", memory: 2Gi, limit: 6Gi}
  ingress: {cpu: 500m, memory: 384Mi, limit: 1536Mi}
  routing: {cpu: 250m, memory: 192Mi, limit: 512Mi}
  directory: {cpu: "1", memory: 512Mi, limit: 2Gi}
  queue: {cpu: 500m, memory: 512Mi, limit: 2Gi}
  mailbox: {cpu: "1", memory: 1Gi, limit: 3Gi}
  gateway: {cpu: 500m, memory: 512Mi, limit: 2Gi}
disk: {standalone: 200Gi, directory: 10Gi, queue: 50Gi, mailbox: 200Gi}
store: {block_cache_bytes: 256MiB, write_buffer_bytes: 64MiB}
mailbox: {folder_cache_bytes: 512MiB}
ingress: {message_memory_bytes: 512MiB}
{{- else }}
replicas: {ingress: 6, routing: 3, gateway: 8, queue: 4, mailbox: 8}
resources:
  standalone: {cpu: "4", memory: 6Gi, limit: 16Gi}
  ingress: {cpu: "1", memory: 1Gi, limit: 3Gi}
  routing: {cpu: 500m, memory: 384Mi, limit: 1Gi}
  directory: {cpu: "2", memory: 1Gi, limit: 4Gi}
  queue: {cpu: "2", memory: 1536Mi, limit: 4Gi}
  mailbox: {cpu: "2", memory: 3Gi, limit: 8Gi}
  gateway: {cpu: "1", memory: 1Gi, limit: 4Gi}
disk: {standalone: 1Ti, directory: 20Gi, queue: 100Gi, mailbox: 500Gi}
store: {block_cache_bytes: 1GiB, write_buffer_bytes: 64MiB}
mailbox: {folder_cache_bytes: 1GiB}
ingress: {message_memory_bytes: 1GiB}
{{- end }}
{{- end }}
