{{/* ---- Names and labels. Pods of an Indexed Job have the host name JOB-INDEX, at most 63 characters. ---- */}}

{{- define "cohort.name" -}}
{{- .Values.nameOverride | default "cohort" | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "cohort.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "cohort.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "cohort.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cohort.learner" -}}{{ include "cohort.fullname" . }}-learner{{- end -}}
{{- define "cohort.peers" -}}{{ include "cohort.fullname" . }}-learner-peers{{- end -}}
{{- define "cohort.rollout" -}}{{ include "cohort.fullname" . }}-rollout{{- end -}}
{{- define "cohort.claim" -}}{{ .Values.persistence.existingClaim | default (printf "%s-run" (include "cohort.fullname" .)) }}{{- end -}}

{{/* The pod of rank 0, by the only name under which it exists: under the Service that is its `subdomain`. */}}
{{- define "cohort.learnerHost" -}}
{{ include "cohort.learner" . }}-0.{{ include "cohort.learner" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* (list CONTEXT COMPONENT): what selects the pods of a part. */}}
{{- define "cohort.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "cohort.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "cohort.labels" -}}
{{- $root := index . 0 -}}
{{ include "cohort.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (list CONTEXT IMAGE): the reference of {name, tag, digest}. */}}
{{- define "cohort.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.name }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "cohort.config" -}}
{{- .Values.config | default (.Files.Get "files/quickstart.yaml") -}}
{{- end -}}

{{/* ---- Parts of pods. ---- */}}

{{- define "cohort.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cohort.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A list of maps from name to text or {valueFrom}: one variable each, the last one wins. */}}
{{- define "cohort.env" -}}
{{- $all := dict -}}
{{- range . }}{{- range $name, $value := . }}{{- $_ := set $all $name $value }}{{- end }}{{- end -}}
{{- range $name, $value := $all }}
- name: {{ $name }}
{{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
{{- else if kindIs "string" $value }}
  value: {{ toJson $value }}
{{- else }}
  value: {{ toJson $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How the processes of a pod show who they are, and where `cohort status` finds the learner. */}}
{{- define "cohort.connectionEnv" -}}
COHORT_LEARNER: {{ index . 1 }}
{{- if eq (index . 0).Values.tls.mode "off" }}
COHORT_INSECURE: "1"
{{- else }}
COHORT_TLS_CA: /etc/cohort/tls/ca.crt
COHORT_TLS_CERT: /etc/cohort/tls/tls.crt
COHORT_TLS_KEY: /etc/cohort/tls/tls.key
{{- end }}
{{- end -}}

{{/* (list CONTEXT ROLE): the name of the role's Secret. */}}
{{- define "cohort.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- if eq $root.Values.tls.mode "existing" -}}
{{- get $root.Values.tls.existing $role | required (printf "tls.existing.%s: expected the name of a Secret with ca.crt, tls.crt and tls.key" $role) -}}
{{- else -}}
{{- include "cohort.fullname" $root }}-tls-{{ $role }}
{{- end -}}
{{- end -}}

{{/* The Secret as a whole folder: renewed files reach the pod only so. */}}
{{- define "cohort.tlsVolume" -}}
{{- if ne (index . 0).Values.tls.mode "off" }}
- name: tls
  secret: {secretName: {{ include "cohort.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "cohort.tlsMount" -}}
{{- if ne .Values.tls.mode "off" }}
- {name: tls, mountPath: /etc/cohort/tls, readOnly: true}
{{- end }}
{{- end -}}

{{/* (list CONTEXT ROLE-VALUES): what both roles say about their pods and their place. */}}
{{- define "cohort.placement" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $role.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $role.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $role.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* (list CONTEXT ROLE-VALUES): resources with the GPUs among the limits. */}}
{{- define "cohort.resources" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $resources := deepCopy $role.resources -}}
{{- if $role.gpus -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits $root.Values.gpuResource (int $role.gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* The size of /dev/shm as a volume; empty: the container's own 64 MB. */}}
{{- define "cohort.shmSize" -}}
{{- if .shmSize }}{{ .shmSize }}{{ else if .gpus }}2Gi{{ end -}}
{{- end -}}

{{/* (list CONTEXT ROLE-VALUES) */}}
{{- define "cohort.extraMounts" -}}
{{- range concat (index . 0).Values.extraVolumes (index . 1).extraVolumes }}
- {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: {{ .readOnly | default false }}}
{{- end }}
{{- with include "cohort.shmSize" (index . 1) }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- end -}}

{{- define "cohort.extraVolumes" -}}
{{- range concat (index . 0).Values.extraVolumes (index . 1).extraVolumes }}
- name: {{ .name }}
  {{- toYaml .source | nindent 2 }}
{{- end }}
{{- with include "cohort.shmSize" (index . 1) }}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ . }}}}
{{- end }}
{{- end -}}

{{/* Health is asked at the HTTP port, which needs no certificate. (list ROLE-VALUES) */}}
{{- define "cohort.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ max 1 (div (int .startupSeconds) 5) }}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 8
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* ---- podTemplatePatch. ---- */}}

{{/* (dict "to" MAP "from" MAP) changes `to` in place: maps are merged, lists of things with names by name, null
     removes, everything else replaces (also false, 0 and "", which mergeOverwrite would leave). */}}
{{- define "cohort.merge" -}}
{{- $to := .to -}}
{{- range $key, $new := .from -}}
{{- $old := get $to $key -}}
{{- if kindIs "invalid" $new -}}
{{- $_ := unset $to $key -}}
{{- else if and (kindIs "map" $new) (kindIs "map" $old) -}}
{{- include "cohort.merge" (dict "to" $old "from" $new) -}}
{{- else if and (kindIs "slice" $new) (kindIs "slice" $old) (has $key (list "containers" "initContainers" "volumes" "volumeMounts" "env" "ports")) -}}
{{- include "cohort.mergeList" (dict "to" $to "key" $key "from" $new) -}}
{{- else -}}
{{- $_ := set $to $key $new -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cohort.mergeList" -}}
{{- $result := list -}}
{{- $known := dict -}}
{{- range get .to .key }}{{- $_ := set $known .name . }}{{- $result = append $result . }}{{- end -}}
{{- range .from -}}
{{- if hasKey $known .name -}}
{{- include "cohort.merge" (dict "to" (get $known .name) "from" .) -}}
{{- else -}}
{{- $result = append $result . -}}
{{- end -}}
{{- end -}}
{{- $_ := set .to .key $result -}}
{{- end -}}

{{/* (list CONTEXT ROLE-VALUES TEXT): the pod template with the patches of both and of the role. */}}
{{- define "cohort.patched" -}}
{{- $template := fromYaml (index . 2) -}}
{{- with get $template "Error" }}{{ fail (printf "the pod template is not YAML: %s" .) }}{{ end -}}
{{- include "cohort.merge" (dict "to" $template "from" (index . 0).Values.podTemplatePatch) -}}
{{- include "cohort.merge" (dict "to" $template "from" (index . 1).podTemplatePatch) -}}
{{- toYaml $template -}}
{{- end -}}
