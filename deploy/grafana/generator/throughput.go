package main

func throughput() board {
	return board{
		name:  "throughput",
		title: "Cohort / Throughput",
		about: "Who waits for whom? The balance of learner and workers, and where each spends its time.",
		sections: []section{
			{"The balance", []panel{
				{kind: number, title: "Demand ratio", unit: "short", width: 4,
					about:   "What the learner could take over what the serving workers can sample. 1: balanced. Over 1: more workers make it faster. Under 1: some are idle.",
					queries: []query{{"cohort:demand_ratio{S}", "{{run}}"}}},
				{kind: number, title: "Workers this run can feed on", unit: "short", width: 4,
					about:   "How many workers keep the learner of this configuration busy: its tokens per second from a full buffer over those of one worker.",
					queries: []query{{"cohort:rollout_workers_fed{S}", "{{run}}"}}},
				{kind: number, title: "Workers serving", unit: "short", width: 4, bad: alarmBelow(1), about: "Connected, heard of, with weights of the run.",
					queries: []query{{"max by (R) (cohort_workers_serving{S})", "{{run}}"}}},
				{kind: number, title: "Wanted by autoscalers", unit: "short", width: 4,
					about:   "cohort:rollout_workers_wanted: at most doubled or halved at a time, and held while groups come too late.",
					queries: []query{{"cohort:rollout_workers_wanted{S}", "{{run}}"}}},
				{kind: number, title: "Seconds per step", unit: "s", width: 4, about: "Mean of the window.",
					queries: []query{{"sum by (R) (increase(cohort_learner_step_duration_seconds_sum{S}[w])) / (sum by (R) (increase(cohort_learner_step_duration_seconds_count{S}[w])) > 0)", "{{run}}"}}},
				{kind: number, title: "Sampled tokens per second", unit: "short", width: 4, about: "Of all workers.",
					queries: []query{{"sum by (R) (rate(cohort_rollout_tokens_total{S}[w]))", "{{run}}"}}},
				{title: "Demand ratio", unit: "short", width: 12, zero: true, bad: warnAbove(1.5),
					about:   "Over 1 the learner waits, under 1 the workers do; an autoscaler keeps it at 1.",
					queries: []query{{"cohort:demand_ratio{S}", "{{run}}"}}},
				{title: "Workers", unit: "short", width: 12, zero: true,
					about: "Serving, wanted, what the configuration can feed, and what the autoscaler's object asks for.",
					queries: []query{
						{"max by (R) (cohort_workers_serving{S})", "{{run}} serving"},
						{"cohort:rollout_workers_wanted{S}", "{{run}} wanted"},
						{"cohort:rollout_workers_fed{S}", "{{run}} can be fed"},
						{`max by (namespace, horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_desired_replicas{namespace=~"$namespace", horizontalpodautoscaler=~".*rollout"})`, "{{horizontalpodautoscaler}} desired"}}},
				{title: "Time spent waiting", unit: "percentunit", zero: true,
					about: "Share of its time that the learner waits for groups, and that workers wait for prompts.",
					queries: []query{
						{"cohort:learner_wait:ratio{S}", "{{run}} learner"},
						{"cohort:rollout_idle:ratio{S}", "{{run}} workers"}}},
				{kind: shares, title: "Phases of the learner", unit: "percentunit",
					about:   "Where the learner's time goes; choose one run. wait_batch first: it is idle then.",
					queries: []query{{"sum by (phase) (rate(cohort_learner_phase_seconds_total{S}[w]))", "{{phase}}"}}},
				{kind: shares, title: "States of the workers", unit: "percentunit",
					about:   "Where the workers' time goes: generate, blocked (by rewards), sync (weights), idle (no prompt to work on).",
					queries: []query{{"sum by (state) (rate(cohort_rollout_state_seconds_total{S}[w]))", "{{state}}"}}},
			}},
			{"Tokens", []panel{
				{title: "Tokens per second", unit: "short", zero: true,
					about: "Sampled by the workers, used up by the learner, and what it would use up if it never waited.",
					queries: []query{
						{"sum by (R) (rate(cohort_rollout_tokens_total{S}[w]))", "{{run}} sampled"},
						{"sum by (R) (rate(cohort_learner_sampled_tokens_total{S}[w]))", "{{run}} used up"},
						{"cohort:learner_capacity_tokens:rate{S}", "{{run}} capacity"}}},
				{title: "Trained tokens per second", unit: "short", zero: true, about: "By kind: prompt, response.",
					queries: []query{{"sum by (R, kind) (rate(cohort_learner_tokens_total{S}[w]))", "{{run}} {{kind}}"}}},
				{title: "Fastest and slowest workers", unit: "short", zero: true,
					about: "Tokens per second of the five fastest and the five slowest workers.",
					queries: []query{
						{"topk(5, sum by (R, instance) (rate(cohort_rollout_tokens_total{S}[w])))", "{{run}} {{instance}}"},
						{"bottomk(5, sum by (R, instance) (rate(cohort_rollout_tokens_total{S}[w])))", "{{run}} {{instance}}"}}},
			}},
			{"Steps and groups", []panel{
				{title: "Duration of a step", unit: "s", zero: true,
					about: "Median and 99th percentile within the window.",
					queries: []query{
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_learner_step_duration_seconds_bucket{S}[w])))", "{{run}} median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_learner_step_duration_seconds_bucket{S}[w])))", "{{run}} 99 %"}}},
				{title: "Groups per second", unit: "short", zero: true,
					about: "Prompts handed out for the first time, ended in any way, and trained: in and out are equal in the long run.",
					queries: []query{
						{"sum by (R) (rate(cohort_groups_dispatched_total{S}[w]))", "{{run}} in"},
						{"sum by (R) (rate(cohort_groups_total{S}[w]))", "{{run}} out"},
						{`sum by (R) (rate(cohort_groups_total{S, state="trained"}[w]))`, "{{run}} trained"}}},
				{title: "Queue", unit: "short", zero: true,
					about: "Groups that wait for training, groups in flight or buffered, and how many there may be.",
					queries: []query{
						{"max by (R) (cohort_queue_groups{S})", "{{run}} buffered"},
						{"max by (R) (cohort_groups_in_flight{S})", "{{run}} in flight"},
						{"max by (R) (cohort_queue_capacity_groups{S})", "{{run}} limit"}}},
				{title: "Time for a group", unit: "s", zero: true,
					about: "Seconds from lease to accepted group, and seconds that a group then waits: median and 99th percentile.",
					queries: []query{
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_group_generation_duration_seconds_bucket{S}[w])))", "{{run}} sampled, median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_group_generation_duration_seconds_bucket{S}[w])))", "{{run}} sampled, 99 %"},
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_group_queue_age_seconds_bucket{S}[w])))", "{{run}} waited, median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_group_queue_age_seconds_bucket{S}[w])))", "{{run}} waited, 99 %"}}},
				{title: "Staleness", unit: "short", zero: true,
					about: "Versions between sampling and training: mean, the oldest group of the last step, and the bound.",
					queries: []query{
						{"sum by (R) (increase(cohort_group_staleness_versions_sum{S}[w])) / (sum by (R) (increase(cohort_group_staleness_versions_count{S}[w])) > 0)", "{{run}} mean"},
						{"max by (R) (cohort_group_staleness_max_versions{S})", "{{run}} oldest"},
						{"max by (R) (cohort_group_staleness_bound_versions{S})", "{{run}} bound"}}},
				{kind: heat, title: "Distribution of staleness", unit: "short", about: "Trained groups by the versions that they are behind, of all chosen runs.",
					queries: []query{{"sum by (le) (increase(cohort_group_staleness_versions_bucket{S}[w]))", ""}}},
				{title: "Dropped as too old", unit: "percentunit", zero: true, bad: alarmAbove(0.05), about: "Share of the groups that were sampled for nothing.",
					queries: []query{{"cohort:groups_stale:ratio{S}", "{{run}}"}}},
				{title: "Rewards", unit: "s", zero: true, log: false,
					about: "Seconds to score one response: median and 99th percentile.",
					queries: []query{
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_reward_duration_seconds_bucket{S}[w])))", "{{run}} median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_reward_duration_seconds_bucket{S}[w])))", "{{run}} 99 %"}}},
			}},
			{"Weights", []panel{
				{title: "Time for new weights", unit: "s", zero: true,
					about: "Seconds from announcement to applied weights on the workers, and to publish them on the learner.",
					queries: []query{
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_weight_sync_duration_seconds_bucket{S}[w])))", "{{run}} applied, median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_weight_sync_duration_seconds_bucket{S}[w])))", "{{run}} applied, 99 %"},
						{"sum by (R) (increase(cohort_weight_publish_duration_seconds_sum{S}[w])) / (sum by (R) (increase(cohort_weight_publish_duration_seconds_count{S}[w])) > 0)", "{{run}} published, mean"}}},
				{title: "Bytes per second", unit: "Bps", zero: true,
					about: "Weights sent by the learner and received by the workers; groups received by the learner.",
					queries: []query{
						{"sum by (R) (rate(cohort_weight_bytes_sent_total{S}[w]))", "{{run}} weights sent"},
						{"sum by (R) (rate(cohort_weight_sync_bytes_total{S}[w]))", "{{run}} weights received"},
						{"sum by (R) (rate(cohort_group_bytes_received_total{S}[w]))", "{{run}} groups received"}}},
				{title: "Versions per minute", unit: "short", zero: true,
					about: "Versions that workers have applied, and open streams that follow the weights.",
					queries: []query{
						{"60 * sum by (R) (rate(cohort_weight_versions_applied_total{S}[w]))", "{{run}} applied"},
						{"max by (R) (cohort_weight_followers{S})", "{{run}} followers"}}},
			}},
		},
	}
}
