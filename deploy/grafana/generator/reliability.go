package main

func reliability() board {
	return board{
		name:  "reliability",
		title: "Cohort / Reliability",
		about: "Is anything lost or about to break? Alerts, the ledger of prompts, checkpoints, faults, certificates.",
		sections: []section{
			{"Alerts", []panel{
				{title: "Alerts that fire", unit: "short", width: 12, zero: true, bad: alarmAbove(1),
					about:   "Of deploy/prometheus/rules.yaml; docs/runbook.md has a section for each.",
					queries: []query{{`max by (R, alertname, severity) (ALERTS{S, alertstate="firing"})`, "{{run}} {{alertname}} ({{severity}})"}}},
				{title: "The learner's own alerts", unit: "short", width: 12, zero: true, bad: alarmAbove(1),
					about: "What the learner has raised an ALERT for and what still goes on.",
					queries: []query{
						{"max by (R, alert) (cohort_alert_active{S}) > 0", "{{run}} {{alert}}"},
						{"sum by (R, alert) (increase(cohort_alerts_total{S}[w])) > 0", "{{run}} {{alert}} raised"}}},
				{kind: states, title: "What the learner does", unit: "short", width: 12, about: "The phase that the learner is in is blue.", bad: []limit{{-1e300, "transparent"}, {1, "blue"}},
					queries: []query{{"max by (R, phase) (cohort_learner_phase{S})", "{{run}} {{phase}}"}}},
				{title: "Time in the phase", unit: "s", width: 12, zero: true, bad: alarmAbove(1800),
					about: "Seconds since the phase began that the learner is in, and since the end of its last step.",
					queries: []query{
						{"time() - max by (R) (cohort_learner_phase_start_timestamp_seconds{S})", "{{run}} phase"},
						{"time() - max by (R) (cohort_learner_last_step_timestamp_seconds{S})", "{{run}} step"}}},
			}},
			{"The ledger", []panel{
				{title: "Imbalance", unit: "short", bad: alarmAbove(1), about: "Prompts dispatched, less those ended and in flight: always 0.",
					queries: []query{{"max by (R) (cohort_groups_imbalance{S})", "{{run}}"}}},
				{title: "Ends per second", unit: "short", zero: true, about: "Prompts by their end.",
					queries: []query{{"sum by (R, state) (rate(cohort_groups_total{S}[w])) > 0", "{{run}} {{state}}"}}},
				{title: "Deliveries per second", unit: "short", zero: true, about: "Groups received, by outcome; a duplicate is a group whose acknowledgement was lost.",
					queries: []query{{"sum by (R, outcome) (rate(cohort_group_deliveries_total{S}[w]))", "{{run}} {{outcome}}"}}},
				{title: "Oldest group in flight", unit: "s", zero: true, bad: alarmAbove(3600), about: "Seconds since the first lease of the oldest prompt that has not come back.",
					queries: []query{{"max by (R) (cohort_group_oldest_in_flight_seconds{S})", "{{run}}"}}},
				{title: "Leases that come to nothing", unit: "percentunit", zero: true, bad: warnAbove(0.05), about: "Share of the leases that expire or fail on the worker's side, of runs with over a hundred in half an hour.",
					queries: []query{{"cohort:leases_failed:ratio{S}", "{{run}}"}}},
				{title: "Paused, finished", unit: "short", zero: true, about: "1 while the run waits for prompts; 1 once it is complete and saved.",
					queries: []query{
						{"max by (R) (cohort_learner_paused{S})", "{{run}} paused"},
						{"max by (R) (cohort_learner_finished{S})", "{{run}} finished"}}},
			}},
			{"What is kept", []panel{
				{title: "Steps since the last checkpoint", unit: "short", zero: true,
					about: "What is lost if the learner ends now, and how many there should be at most.",
					queries: []query{
						{step + " - max by (R) (cohort_checkpoint_last_step{S})", "{{run}}"},
						{"max by (R) (cohort_checkpoint_interval_steps{S})", "{{run}} interval"}}},
				{title: "Age of the last checkpoint", unit: "s", zero: true, about: "Seconds since this learner wrote one.",
					queries: []query{{"time() - max by (R) (cohort_checkpoint_last_success_timestamp_seconds{S})", "{{run}}"}}},
				{title: "Time for a checkpoint", unit: "s", zero: true, about: "Mean of the last hour.",
					queries: []query{{"sum by (R) (increase(cohort_checkpoint_duration_seconds_sum{S}[1h])) / (sum by (R) (increase(cohort_checkpoint_duration_seconds_count{S}[1h])) > 0)", "{{run}}"}}},
				{title: "Failed writes", unit: "short", zero: true, bad: alarmAbove(1),
					about: "Checkpoints and lines of records that could not be written within the window.",
					queries: []query{
						{"sum by (R) (increase(cohort_checkpoint_failures_total{S}[w]))", "{{run}} checkpoints"},
						{"sum by (R, file) (increase(cohort_file_write_failures_total{S}[w]))", "{{run}} {{file}}"}}},
				{title: "Free space", unit: "percentunit", zero: true, bad: alarmBelow(0.1), about: "Of the volume of the run's folder.",
					queries: []query{{"min by (R) (cohort_disk_free_bytes{S} / cohort_disk_size_bytes{S})", "{{run}}"}}},
				{title: "Certificates", unit: "d", bad: alarmBelow(10), about: "Days until the first certificate of a role expires; none without TLS.",
					queries: []query{{"(min by (R, role) (cohort_tls_certificate_expiry_timestamp_seconds{P}) - time()) / 86400", "{{run}} {{role}}"}}},
			}},
			{"Faults", []panel{
				{title: "Values that are not finite", unit: "short", zero: true, bad: alarmAbove(1), about: "Since each start, by where; and values that a metric did not take.",
					queries: []query{
						{"sum by (R, where) (cohort_nonfinite_total{S})", "{{run}} {{where}}"},
						{"sum by (R, metric) (cohort_metric_values_refused_total{S})", "{{run}} {{metric}}"}}},
				{title: "Responses without a verdict", unit: "short", zero: true, about: "Within the window, by reason.",
					queries: []query{{"sum by (R, reason) (increase(cohort_reward_unscorable_total{S}[w]))", "{{run}} {{reason}}"}}},
				{title: "Programs at their limits", unit: "short", zero: true, about: "Responses whose program ran into a limit of time, memory or output within the window.",
					queries: []query{{"sum by (R, limit) (increase(cohort_reward_limits_total{S}[w]))", "{{run}} {{limit}}"}}},
				{title: "Weights that were not applied", unit: "short", zero: true,
					about: "Within the window, by reason; superseded is harmless. And requests that the learner answered with an error.",
					queries: []query{
						{"sum by (R, reason) (increase(cohort_weight_sync_failures_total{S}[w]))", "{{run}} {{reason}}"},
						{"sum by (R) (increase(cohort_weight_errors_sent_total{S}[w]))", "{{run}} errors sent"}}},
				{title: "Messages that make no sense", unit: "short", zero: true, bad: alarmAbove(1), about: "Within the window.",
					queries: []query{{"sum by (R) (increase(cohort_worker_bad_messages_total{S}[w]))", "{{run}}"}}},
				{title: "Silence of the ranks", unit: "s", zero: true, bad: alarmAbove(60), about: "Seconds since the last sign of life of each rank of a learner with several.",
					queries: []query{
						{"max by (R, rank) (cohort_rank_silence_seconds{S})", "{{run}} rank {{rank}}"},
						{"max by (R) (cohort_ranks{S})", "{{run}} ranks"}}},
				{title: "Targets that answer", unit: "short", zero: true, about: "Processes that Prometheus reaches, and those that it does not.",
					queries: []query{
						{"sum by (R, role) (up{P})", "{{run}} {{role}}"},
						{"count by (R, role) (up{P} == 0)", "{{run}} {{role}} silent"}}},
				{title: "Starts", unit: "short", zero: true, bad: warnAbove(3), about: "Of each process within the window.",
					queries: []query{{"sum by (R, role, instance) (changes(process_start_time_seconds{P}[w]))", "{{run}} {{role}} {{instance}}"}}},
				{title: "Time for a scrape", unit: "s", zero: true, about: "What reading the metrics takes.",
					queries: []query{{"max by (R, role) (scrape_duration_seconds{P})", "{{run}} {{role}}"}}},
			}},
		},
	}
}
