{{/* Names and blocks that several templates share. */}}

{{/* Short: a StatefulSet's name and a hash are a label's value, of 63 bytes. */}}

{{- define "palisade.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 20 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 20 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* What selects pods: never changed, a StatefulSet's selector can't be. (root, component) */}}
{{- define "palisade.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "palisade.labels" -}}
{{ include "palisade.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: palisade
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Of pods: not what changes with the chart alone, or its upgrade would restart them. */}}
{{- define "palisade.podLabels" -}}
{{ include "palisade.selector" . }}
app.kubernetes.io/part-of: palisade
{{- end }}

{{- define "palisade.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* The stable names of the coordinators, by which everybody finds them. (root, port, named) */}}
{{- define "palisade.coordinators" -}}
{{- $name := printf "%s-coordinator" (include "palisade.fullname" .root) -}}
{{- $places := list -}}
{{- range $ordinal := until (int .root.Values.coordinators.replicas) -}}
{{- $place := printf "%s-%d.%s-peers.%s.svc:%d" $name $ordinal $name $.root.Release.Namespace (int $.port) -}}
{{- $places = append $places (ternary (printf "%s-%d=%s" $name $ordinal $place) $place $.named) -}}
{{- end -}}
{{ join "," $places }}
{{- end }}

{{- define "palisade.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "palisade.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the programs are told of TLS: the only place that names these flags. (root, name) */}}
{{- define "palisade.tlsArgs" -}}
{{- if .root.Values.tls.enabled -}}
{{- $file := ternary "tls" .name (eq .root.Values.tls.source "csi") -}}
- --cacert=/etc/palisade/tls/ca.crt
- --cert=/etc/palisade/tls/{{ $file }}.crt
- --key=/etc/palisade/tls/{{ $file }}.key
{{- else if .server -}}
- --insecure
{{- end }}
{{- end }}

{{/* Where its certificate comes from. (root, kind; id: what follows in the identity) */}}
{{- define "palisade.tlsVolume" -}}
{{- $tls := .root.Values.tls -}}
- name: tls
{{- if eq $tls.source "csi" }}
  csi:
    driver: csi.cert-manager.io
    readOnly: true
    volumeAttributes:
      csi.cert-manager.io/issuer-name: {{ $tls.issuerName }}
      csi.cert-manager.io/issuer-kind: {{ $tls.issuerKind }}
      csi.cert-manager.io/uri-sans: spiffe://{{ .root.Values.clusterName }}/{{ .kind }}/{{ .id }}
      csi.cert-manager.io/key-usages: digital signature,server auth,client auth
      csi.cert-manager.io/duration: {{ $tls.duration }}
      csi.cert-manager.io/fs-group: "65532"
{{- else }}
  secret:
    secretName: {{ include "palisade.fullname" .root }}-{{ .kind }}-tls
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* What a server's environment is made of, beside what its template adds. */}}
{{- define "palisade.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: RUST_LOG
  value: {{ .Values.logFilter | quote }}
{{- end }}

{{/* Not on one host, and over the zones as far as there are any. (root, component, spread) */}}
{{- define "palisade.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "palisade.selector" . | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: {{ .spread }}
  labelSelector:
    matchLabels: {{- include "palisade.selector" . | nindent 6 }}
{{- end }}

{{/*
Startup and readiness ask for gRPC health on a port that serves nothing else; liveness asks whether
the process answers, and nothing else: a quorum is never part of it. (health)
*/}}
{{- define "palisade.probes" -}}
startupProbe:
  grpc: {port: {{ .health }}, service: livez}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 300
readinessProbe:
  grpc: {port: {{ .health }}, service: readyz}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* What people set for pods of one kind. */}}
{{- define "palisade.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The volume of a StatefulSet's pod. */}}
{{- define "palisade.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .storageSize }}
{{- end }}
