{{/* One StatefulSet of agents: all of them, or those of one zone. (root, zone) */}}
{{- define "palisade.agents" -}}
{{- $root := .root -}}
{{- $it := .root.Values.agents -}}
{{- $service := printf "%s-agent" (include "palisade.fullname" .root) -}}
{{- $name := ternary (printf "%s-%s" $service .zone) $service (ne .zone "") -}}
{{- $component := dict "root" .root "component" "agent" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "palisade.labels" $component | nindent 4 }}
spec:
  replicas: {{ $it.replicas }}
  serviceName: {{ $service }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  minReadySeconds: 10
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  selector:
    matchLabels:
      {{- include "palisade.selector" $component | nindent 6 }}
      {{- with .zone }}
      palisade/zone: {{ . }}
      {{- end }}
  template:
    metadata:
      labels:
        {{- with $it.labels }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- include "palisade.podLabels" $component | nindent 8 }}
        {{- with .zone }}
        palisade/zone: {{ . }}
        {{- end }}
      {{- with $it.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $service }}
      automountServiceAccountToken: false
      # Services would come as variables, and the program reads its flags from variables.
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      securityContext: {{- include "palisade.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $zoned := dict -}}
      {{- if .zone }}{{ $zoned = dict "topology.kubernetes.io/zone" .zone }}{{ end }}
      {{- $placed := merge (dict "nodeSelector" (merge $zoned $it.nodeSelector)) $it }}
      {{- include "palisade.placement" $placed | nindent 6 }}
      topologySpreadConstraints:
        {{- include "palisade.spread" (merge (dict "spread" $it.spread) $component) | nindent 8 }}
      {{- if $it.engine }}
      # Started before the engine and stopped after it.
      initContainers:
        {{- include "palisade.agent" . | nindent 8 }}
          restartPolicy: Always
      containers:
        - {{- toYaml $it.engine | nindent 10 }}
      {{- else }}
      containers:
        {{- include "palisade.agent" . | nindent 8 }}
      {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if .root.Values.tls.enabled }}
        {{- include "palisade.tlsVolume" (dict "root" .root "kind" "agent" "id" "${POD_NAME}") | nindent 8 }}
        {{- end }}
        {{- with $it.extraVolumes }}{{ toYaml . | nindent 8 }}{{ end }}
  volumeClaimTemplates:
    {{- include "palisade.claim" $it | nindent 4 }}
{{- end }}

{{/* The agent's container, alone or beside an engine. (root, zone) */}}
{{- define "palisade.agent" -}}
{{- $it := .root.Values.agents -}}
{{- $listen := .root.Values.listen -}}
{{- $service := printf "%s-agent" (include "palisade.fullname" .root) -}}
- name: agent
  image: {{ include "palisade.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext: {{- include "palisade.containerSecurity" .root | nindent 4 }}
  args:
    - replica
    - --name=$(POD_NAME)
    - --data=/var/lib/palisade
    - --coordinators={{ include "palisade.coordinators" (dict "root" .root "port" 7402 "named" false) }}
    - --advertise=$(POD_NAME).{{ $service }}.{{ .root.Release.Namespace }}.svc
    - --rack=$(RACK)
    - --reserve-bytes={{ int64 $it.reserveBytes }}
    - --data-listen={{ $listen }}:7410
    - --stream-listen={{ $listen }}:7411
    - --metrics-listen={{ $listen }}:7413
    - --health-listen={{ $listen }}:7414
    - --log-format=json
    {{- include "palisade.tlsArgs" (dict "root" .root "name" "$(POD_NAME)" "server" true) | nindent 4 }}
  env:
    {{- include "palisade.env" .root | nindent 4 }}
    - name: RACK
    {{- if .zone }}
      value: {{ .zone }}
    {{- else }}
      valueFrom:
        fieldRef:
          fieldPath: metadata.labels['topology.kubernetes.io/zone']
    {{- end }}
    {{- with $it.extraEnv }}{{ toYaml . | nindent 4 }}{{ end }}
  ports:
    - {name: data, containerPort: 7410}
    - {name: stream, containerPort: 7411}
    - {name: metrics, containerPort: 7413}
    - {name: health, containerPort: 7414}
  {{- include "palisade.probes" (dict "health" 7414) | nindent 2 }}
  # SIGTERM then finishes or gives back the step under way and lets barriers go: it is not a drain.
  lifecycle:
    preStop:
      sleep: {seconds: 3}
  resources: {{- toYaml $it.resources | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /var/lib/palisade}
    - {name: tmp, mountPath: /tmp}
    {{- if .root.Values.tls.enabled }}
    - {name: tls, mountPath: /etc/palisade/tls, readOnly: true}
    {{- end }}
    {{- with $it.extraVolumeMounts }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
