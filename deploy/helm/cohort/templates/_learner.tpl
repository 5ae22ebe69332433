{{/* The learner's pod. One template for two Jobs: rank 0's pod holds the run's volume; the pods of the other
     ranks, which may be on other nodes, do without. (dict "root" CONTEXT "peers" BOOL) */}}
{{- define "cohort.learnerPod" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $learner := $v.learner -}}
metadata:
  labels:
    {{- include "cohort.selector" (list $root "learner") | nindent 4 }}
    {{- range $key, $value := mergeOverwrite (dict) $v.podLabels $learner.podLabels }}
    {{ $key }}: {{ $value | quote }}
    {{- end }}
  {{- if or $learner.podAnnotations $v.monitoring.scrapeAnnotations }}
  annotations:
    {{- if $v.monitoring.scrapeAnnotations }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9090"
    {{- end }}
    {{- with $learner.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  subdomain: {{ include "cohort.learner" $root }}
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $learner.terminationGracePeriodSeconds }}
  securityContext: {{- include "cohort.podSecurity" $root | nindent 4 }}
  {{- include "cohort.placement" (list $root $learner) | nindent 2 }}
  {{- if or (not (or $v.model.existingClaim $v.model.hostPath)) $v.data.image.name }}
  initContainers:
  {{- if not (or $v.model.existingClaim $v.model.hostPath) }}
  - name: model
    {{- include "cohort.copyContainer" (list $root $v.model.image "model") | nindent 4 }}
  {{- end }}
  {{- if $v.data.image.name }}
  - name: data
    {{- include "cohort.copyContainer" (list $root $v.data.image "data") | nindent 4 }}
  {{- end }}
  {{- end }}
  containers:
  - name: learner
    image: {{ include "cohort.image" (list $root $learner.image) }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    args:
    - --config=/etc/cohort/run/config.yaml
    - --set=model.path=/models/policy
    - --out=/run/cohort
    - --resume=auto
    - --listen=0.0.0.0:7000
    - --http-listen=0.0.0.0:9090
    - --page-listen=127.0.0.1:9091
    - --store={{ include "cohort.learnerHost" $root }}:7001
    - --pods={{ int $learner.pods }}
    - --ranks-per-pod={{ int $learner.ranksPerPod }}
    {{- if .peers }}
    - --pod-index-offset=1
    {{- end }}
    {{- with $learner.interface }}
    - --interface={{ . }}
    {{- end }}
    {{- range $learner.extraArgs }}
    - {{ toJson . }}
    {{- end }}
    env: {{- include "cohort.env" (list (include "cohort.connectionEnv" (list $root "localhost:7000") | fromYaml) $v.extraEnv $learner.extraEnv) | nindent 4 }}
    ports:
    - {name: grpc, containerPort: 7000}
    - {name: store, containerPort: 7001}
    - {name: http, containerPort: 9090}
    {{- include "cohort.probes" $learner | nindent 4 }}
    resources: {{- include "cohort.resources" (list $root $learner) | nindent 6 }}
    securityContext: {{- include "cohort.containerSecurity" $root | nindent 6 }}
    volumeMounts:
    - {name: config, mountPath: /etc/cohort/run, readOnly: true}
    - {name: run, mountPath: /run/cohort}
    - {name: tmp, mountPath: /tmp}
    - name: model
      mountPath: /models/policy
      {{- if or $v.model.existingClaim $v.model.hostPath }}
      readOnly: true
      {{- with $v.model.subPath }}
      subPath: {{ . }}
      {{- end }}
      {{- end }}
    {{- if or $v.data.existingClaim $v.data.configMap $v.data.image.name }}
    - {name: data, mountPath: /data, readOnly: true}
    {{- end }}
    {{- include "cohort.tlsMount" $root | nindent 4 }}
    {{- include "cohort.extraMounts" (list $root $learner) | nindent 4 }}
  volumes:
  - name: config
    configMap: {name: {{ include "cohort.fullname" $root }}-config}
  - name: run
    {{- if and $v.persistence.enabled (not .peers) }}
    persistentVolumeClaim: {claimName: {{ include "cohort.claim" $root }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - {name: tmp, emptyDir: {}}
  - name: model
    {{- if $v.model.existingClaim }}
    persistentVolumeClaim: {claimName: {{ $v.model.existingClaim }}, readOnly: true}
    {{- else if $v.model.hostPath }}
    hostPath: {path: {{ $v.model.hostPath }}, type: Directory}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- if $v.data.existingClaim }}
  - name: data
    persistentVolumeClaim: {claimName: {{ $v.data.existingClaim }}, readOnly: true}
  {{- else if $v.data.configMap }}
  - name: data
    configMap: {name: {{ $v.data.configMap }}}
  {{- else if $v.data.image.name }}
  - {name: data, emptyDir: {}}
  {{- end }}
  {{- include "cohort.tlsVolume" (list $root "learner") | nindent 2 }}
  {{- include "cohort.extraVolumes" (list $root $learner) | nindent 2 }}
{{- end -}}

{{/* (list CONTEXT IMAGE VOLUME): copies the image's folder into the pod's volume with the image's own /bin/cp. */}}
{{- define "cohort.copyContainer" -}}
{{- $root := index . 0 -}}
image: {{ include "cohort.image" (list $root (index . 1)) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/bin/cp, -r, {{ printf "%s/." (index . 1).path }}, /target/]
resources:
  requests: {cpu: 50m, memory: 32Mi}
  limits: {memory: 256Mi}
securityContext: {{- include "cohort.containerSecurity" $root | nindent 2 }}
volumeMounts:
- {name: {{ index . 2 }}, mountPath: /target}
{{- end -}}

{{/* The Jobs' spec; everything in it is immutable once the Job is there. */}}
{{- define "cohort.learnerJobSpec" -}}
{{- $root := .root -}}
{{- $learner := $root.Values.learner -}}
{{- $pods := 1 -}}
{{- if .peers }}{{ $pods = sub (int $learner.pods) 1 }}{{ end -}}
completionMode: Indexed
completions: {{ $pods }}
parallelism: {{ $pods }}
{{- if gt (int $learner.pods) 1 }}
backoffLimitPerIndex: {{ int $learner.backoffLimit }}
maxFailedIndexes: 0
{{- else }}
backoffLimit: {{ int $learner.backoffLimit }}
{{- end }}
{{- if $learner.suspend }}
suspend: true
{{- end }}
{{- if $learner.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ int $learner.activeDeadlineSeconds }}
{{- end }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
  # A configuration, model or data error: another try would end the same way.
  - action: FailJob
    onExitCodes: {containerName: learner, operator: In, values: [42]}
  # Evictions, drains and pre-emptions cost nothing.
  - action: Ignore
    onPodConditions: [{type: DisruptionTarget, status: "True"}]
template: {{- include "cohort.patched" (list $root $learner (include "cohort.learnerPod" .)) | nindent 2 }}
{{- end -}}

{{/* What the Job was made from: a change of it needs another Job. */}}
{{- define "cohort.jobHash" -}}
{{- $spec := include "cohort.learnerJobSpec" (dict "root" . "peers" false) -}}
{{- printf "%s\n%d\n%s" $spec (int .Values.learner.pods) (include "cohort.config" .) | sha256sum | trunc 16 -}}
{{- end -}}
