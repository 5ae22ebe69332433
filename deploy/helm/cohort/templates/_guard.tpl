{{/* What an upgrade may not do is refused here, before anything is applied. Where `lookup` sees nothing (helm
     template, GitOps) nothing is refused; the learner itself still refuses a changed semantic field. */}}

{{/* The fields that decide what is trained, as common/config/semantic.cc has them. */}}
{{- define "cohort.semanticHash" -}}
{{- $config := include "cohort.config" . | fromYaml -}}
{{- with get $config "Error" }}{{ fail (printf "config: expected YAML with sections, found: %s" .) }}{{ end -}}
{{- $semantic := dict -}}
{{- $picked := dict "run" (list "seed") "model" (list "dtype" "max_context") "rollout" (list "group_size" "temperature" "top_p" "top_k" "max_new_tokens" "stop" "length_schedule" "serial") -}}
{{- range $section, $keys := $picked -}}
{{- $from := get $config $section | default dict -}}
{{- range $keys }}{{- if hasKey $from . }}{{- $_ := set $semantic (printf "%s.%s" $section .) (get $from .) }}{{- end }}{{- end -}}
{{- end -}}
{{- $local := dict "data" (list "path") "algorithm" (list "max_rounds" "max_tries" "on_exhausted" "path" "run") "critic" (list "path") "process_model" (list "path") -}}
{{- range $section, $dropped := $local -}}
{{- if hasKey $config $section }}
{{- $part := get $config $section -}}
{{- include "cohort.prune" (dict "node" $part "drop" $dropped) -}}
{{- $_ := set $semantic $section $part -}}
{{- end -}}
{{- end -}}
{{- toJson $semantic | sha256sum | trunc 16 -}}
{{- end -}}

{{- define "cohort.prune" -}}
{{- $drop := .drop -}}
{{- $node := .node -}}
{{- if kindIs "map" $node -}}
{{- range $key := keys $node -}}
{{- if has $key $drop }}{{- $_ := unset $node $key }}{{- else }}{{- include "cohort.prune" (dict "node" (get $node $key) "drop" $drop) }}{{- end -}}
{{- end -}}
{{- else if kindIs "slice" $node -}}
{{- range $node }}{{- include "cohort.prune" (dict "node" . "drop" $drop) }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* An annotation of a live object, empty where there is none. (list API KIND NAMESPACE NAME ANNOTATION) */}}
{{- define "cohort.liveAnnotation" -}}
{{- $object := lookup (index . 0) (index . 1) (index . 2) (index . 3) -}}
{{- if $object }}{{ get ($object.metadata.annotations | default dict) (index . 4) }}{{ end -}}
{{- end -}}

{{- define "cohort.guard" -}}
{{- $name := include "cohort.fullname" . -}}
{{- $learner := include "cohort.learner" . -}}
{{- $ns := .Release.Namespace -}}
{{- $key := "cohort.dev/semantic-hash" -}}
{{- $trained := coalesce (include "cohort.liveAnnotation" (list "batch/v1" "Job" $ns $learner $key)) (include "cohort.liveAnnotation" (list "v1" "ConfigMap" $ns (printf "%s-config" $name) $key)) (include "cohort.liveAnnotation" (list "v1" "PersistentVolumeClaim" $ns (printf "%s-run" $name) $key)) -}}
{{- if and $trained (ne $trained (include "cohort.semanticHash" .)) (not .Values.acceptConfigChange) -}}
{{- fail (printf "\n\nconfig: a field that decides what is trained (data, algorithm, critic, process_model, run.seed, model.dtype, model.max_context or the sampling fields of rollout) differs from the one that run %q in namespace %q was started with. A run keeps these for its life: install the new configuration as another release (helm install NEW-NAME ...), or, where its checkpoints are not wanted any more, uninstall this one, delete the claim of its volume and install it again. Only where nothing but the spelling changed: --set acceptConfigChange=true; the learner then compares the fields itself." $name $ns) -}}
{{- end -}}
{{- $job := lookup "batch/v1" "Job" $ns $learner -}}
{{- if $job -}}
{{- $replace := printf "kubectl -n %s delete job -l cohort.dev/run=%s --cascade=foreground && helm upgrade ..." $ns $name -}}
{{- if $job.metadata.deletionTimestamp -}}
{{- fail (printf "\n\nthe learner's Job %q is still being deleted: its pod saves a checkpoint. Wait until it is gone (kubectl -n %s wait --for=delete job/%s --timeout=15m), then upgrade again." $learner $ns $learner) -}}
{{- end -}}
{{- $made := get ($job.metadata.annotations | default dict) "cohort.dev/job-hash" -}}
{{- if and $made (ne $made (include "cohort.jobHash" .)) -}}
{{- fail (printf "\n\nthe learner's Job %q was made from other values (configuration, image, resources or another part of its pod), and Kubernetes changes no Job in place. Nothing has been applied. Replace it, which saves a checkpoint first and resumes from it:\n\n  %s\n\nwith the same arguments as now." $learner $replace) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.learner.activeDeadlineSeconds (or .Values.learner.suspend .Values.kueue.queue) -}}
{{- fail "learner.activeDeadlineSeconds: expected 0 together with learner.suspend or kueue.queue, since a resumed Job fails at once when the deadline has passed meanwhile" -}}
{{- end -}}
{{- if gt (add (ternary 1 0 (ne .Values.model.existingClaim "")) (ternary 1 0 (ne .Values.model.hostPath ""))) 1 -}}
{{- fail "model: expected one of existingClaim and hostPath, found both" -}}
{{- end -}}
{{- if gt (add (ternary 1 0 (ne .Values.data.existingClaim "")) (ternary 1 0 (ne .Values.data.configMap "")) (ternary 1 0 (ne .Values.data.image.name ""))) 1 -}}
{{- fail "data: expected at most one of existingClaim, configMap and image.name" -}}
{{- end -}}
{{- end -}}

{{/* ---- How many workers. ---- */}}

{{/* The count that is written: empty where an autoscaler rules. A count that somebody set at the Deployment
     stays; `default` would take 0 for nothing. */}}
{{- define "cohort.replicas" -}}
{{- $wanted := int .Values.rollout.replicas -}}
{{- if ne .Values.rollout.autoscaling.kind "none" -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "cohort.rollout" .) -}}
{{- if not $live -}}
{{- $wanted -}}
{{- else -}}
{{- $now := int (get $live.spec "replicas") -}}
{{- $written := get ($live.metadata.annotations | default dict) "cohort.dev/chart-replicas" -}}
{{- $ended := and (eq $now 0) (not (lookup "batch/v1" "Job" .Release.Namespace (include "cohort.learner" .))) -}}
{{- if or (eq $written "") (eq $written (toString $now)) $ended -}}
{{- $wanted -}}
{{- else -}}
{{- $now -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
