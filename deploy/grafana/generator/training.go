package main

const step = "max by (R) (cohort_learner_step{S})"

func training() board {
	return board{
		name:  "training",
		title: "Cohort / Training",
		about: "Is it learning? Rewards, accuracy and the health of the policy, runs overlaid by time and by step.",
		sections: []section{
			{"Where it stands", []panel{
				{kind: number, title: "Step", unit: "short", width: 4, about: "Optimizer batches done.",
					queries: []query{{step, "{{run}}"}}},
				{kind: number, title: "Of the whole run", unit: "percentunit", width: 4, about: "Steps done of those planned (run.steps).",
					queries: []query{{step + " / max by (R) (cohort_learner_steps_planned{S})", "{{run}}"}}},
				{kind: number, title: "Time left", unit: "dtdurations", width: 4,
					about: "Steps that are left, at the mean duration of the last hour's steps.",
					queries: []query{{"(max by (R) (cohort_learner_steps_planned{S}) - " + step + `)
* sum by (R) (increase(cohort_learner_step_duration_seconds_sum{S}[1h])) / (sum by (R) (increase(cohort_learner_step_duration_seconds_count{S}[1h])) > 0)`, "{{run}}"}}},
				{kind: number, title: "Reward", unit: "short", width: 4, about: "Mean reward of the last step.",
					queries: []query{{`max by (R) (cohort_reward_mean{S, component="total"})`, "{{run}}"}}},
				{kind: number, title: "Held-out accuracy", unit: "percentunit", width: 4, about: "Share of right answers in the last evaluation.",
					queries: []query{{"max by (R, suite) (cohort_eval_pass_ratio{S})", "{{run}} {{suite}}"}}},
				{kind: number, title: "Entropy", unit: "short", width: 4, bad: alarmBelow(0.1),
					about:   "Mean next-token entropy of the last step, nats. Near 0 the policy has nothing left to try.",
					queries: []query{{"max by (R) (cohort_policy_entropy_nats{S})", "{{run}}"}}},
			}},
			{"Is it learning?", []panel{
				{title: "Reward", unit: "short", width: 12,
					about:   "Mean reward of all responses trained within the window. One line per run, across restarts.",
					queries: []query{{"sum by (R) (increase(cohort_reward_sum{S}[w])) / (sum by (R) (increase(cohort_reward_count{S}[w])) > 0)", "{{run}}"}}},
				{title: "Held-out accuracy", unit: "percentunit", width: 12, zero: true,
					about:   "Share of right answers in the last evaluation, by suite.",
					queries: []query{{"max by (R, suite) (cohort_eval_pass_ratio{S})", "{{run}} {{suite}}"}}},
				{title: "Reward by component", unit: "short",
					about:   "Mean of each part of the reward in the last step. A part that rises alone may be gamed.",
					queries: []query{{`max by (R, component) (cohort_reward_mean{S, component!="total"})`, "{{run}} {{component}}"}}},
				{title: "Accuracy of trained responses", unit: "percentunit", zero: true,
					about: "How right the responses are, whatever their reward: mean within the window, and of the last step.",
					queries: []query{
						{"sum by (R) (increase(cohort_response_accuracy_sum{S}[w])) / (sum by (R) (increase(cohort_response_accuracy_count{S}[w])) > 0)", "{{run}}"},
						{"max by (R) (cohort_accuracy_mean{S})", "{{run}} last step"}}},
				{title: "Spread of rewards", unit: "short", zero: true,
					about:   "Standard deviation of the rewards of the last step. 0: no advantage, nothing is learned.",
					queries: []query{{"max by (R) (cohort_reward_std{S})", "{{run}}"}}},
				{kind: heat, title: "Distribution of rewards", unit: "short",
					about:   "Responses by their reward, of all chosen runs.",
					queries: []query{{"sum by (le) (increase(cohort_reward_bucket{S}[w]))", ""}}},
				{kind: shares, title: "How groups end", unit: "percentunit",
					about:   "Share of the prompts by their end: trained, or left out because all answers are right, all wrong, or for another reason.",
					queries: []query{{"sum by (state) (increase(cohort_groups_total{S}[w]))", "{{state}}"}}},
				{title: "Groups with equal rewards", unit: "percentunit", zero: true, bad: warnAbove(0.9),
					about:   "Share of the last step's groups whose rewards are all equal; they have no gradient.",
					queries: []query{{"max by (R) (cohort_groups_equal_reward_ratio{S})", "{{run}}"}}},
			}},
			{"The policy", []panel{
				{title: "Entropy", unit: "short", zero: true, bad: alarmBelow(0.1),
					about:   "Mean next-token entropy in nats, over the tokens of the window. A slow fall is learning, a quick one a collapse.",
					queries: []query{{"sum by (R) (increase(cohort_policy_token_entropy_nats_total{S}[w])) / (sum by (R) (increase(cohort_policy_tokens_total{S}[w])) > 0)", "{{run}}"}}},
				{title: "KL from the reference", unit: "short", bad: alarmAbove(0.2),
					about:   "Mean k3 divergence per token from the reference policy, nats; runs without one have none.",
					queries: []query{{"max by (R) (cohort_policy_kl_nats{S})", "{{run}}"}}},
				{title: "Sampler against learner", unit: "short", log: true, bad: alarmAbove(0.1),
					about:   "Divergence between the probabilities of workers and learner for the same tokens, nats: mean, and the largest difference of one token.",
					queries: []query{{"max by (R, stat) (cohort_policy_mismatch_kl_nats{S})", "{{run}} {{stat}}"}}},
				{title: "Clipped tokens", unit: "percentunit", zero: true, bad: warnAbove(0.2),
					about:   "Share of the tokens whose ratio left the trust region, on either side.",
					queries: []query{{"max by (R, side) (cohort_policy_clip_ratio{S})", "{{run}} {{side}}"}}},
				{title: "Importance weights", unit: "short",
					about:   "The largest weight of any token in the last step. Far over 1: the groups are too old for the policy.",
					queries: []query{{"max by (R) (cohort_policy_importance_weight_max{S})", "{{run}}"}}},
				{title: "Effective samples", unit: "percentunit", zero: true, bad: alarmBelow(0.5),
					about:   "Effective sample size of the last step as a share of its tokens.",
					queries: []query{{"max by (R) (cohort_policy_effective_sample_ratio{S})", "{{run}}"}}},
				{title: "Gradient norm", unit: "short", log: true, about: "Before clipping, in the last step.",
					queries: []query{{"max by (R) (cohort_policy_grad_norm{S})", "{{run}}"}}},
				{title: "Loss", unit: "short", about: "Of the last step. It need not fall: compare runs by reward.",
					queries: []query{{"max by (R) (cohort_policy_loss{S})", "{{run}}"}}},
				{title: "Learning rate", unit: "sci", zero: true, about: "Of the last update.",
					queries: []query{{"max by (R) (cohort_policy_learning_rate{S})", "{{run}}"}}},
			}},
			{"Responses", []panel{
				{title: "Response length", unit: "short", zero: true,
					about: "Tokens of the responses within the window: mean, median and 99th percentile.",
					queries: []query{
						{"sum by (R) (increase(cohort_response_length_tokens_sum{S}[w])) / (sum by (R) (increase(cohort_response_length_tokens_count{S}[w])) > 0)", "{{run}} mean"},
						{"histogram_quantile(0.5, sum by (R, le) (rate(cohort_response_length_tokens_bucket{S}[w])))", "{{run}} median"},
						{"histogram_quantile(0.99, sum by (R, le) (rate(cohort_response_length_tokens_bucket{S}[w])))", "{{run}} 99 %"}}},
				{kind: heat, title: "Distribution of lengths", unit: "short", about: "Responses by their tokens, of all chosen runs.",
					queries: []query{{"sum by (le) (increase(cohort_response_length_tokens_bucket{S}[w]))", ""}}},
				{title: "Truncated and unscorable", unit: "percentunit", zero: true, bad: warnAbove(0.25),
					about: "Share of the responses that reach the length limit, and of those without a verdict.",
					queries: []query{
						{"sum by (R) (increase(cohort_responses_truncated_total{S}[w])) / (sum by (R) (increase(cohort_responses_total{S}[w])) > 0)", "{{run}} truncated"},
						{"sum by (R) (increase(cohort_responses_unscorable_total{S}[w])) / (sum by (R) (increase(cohort_responses_total{S}[w])) > 0)", "{{run}} unscorable"}}},
				{title: "Length in evaluations", unit: "short", zero: true, about: "Mean tokens of the answers of the last evaluation, by suite.",
					queries: []query{{"max by (R, suite) (cohort_eval_response_length_tokens{S})", "{{run}} {{suite}}"}}},
				{title: "Answers in evaluations", unit: "short", zero: true, about: "Responses of the last evaluation with and without a verdict, by suite.",
					queries: []query{
						{"max by (R, suite) (cohort_eval_rows{S})", "{{run}} {{suite}} with a verdict"},
						{"max by (R, suite) (cohort_eval_unscorable_rows{S})", "{{run}} {{suite}} without"}}},
				{title: "Prompts too long", unit: "short", zero: true, about: "Prompts that were skipped because they do not fit the context.",
					queries: []query{{"sum by (R) (cohort_prompts_too_long_total{S})", "{{run}}"}}},
			}},
			{"By step", []panel{
				overSteps("Reward", "short", `avg by (R) (cohort_reward_mean{S, component="total"})`),
				overSteps("Held-out accuracy", "percentunit", "avg by (R) (cohort_eval_pass_ratio{S})"),
				overSteps("Entropy", "short", "max by (R) (cohort_policy_entropy_nats{S})"),
				overSteps("KL from the reference", "short", "max by (R) (cohort_policy_kl_nats{S})"),
				overSteps("Accuracy of trained responses", "percentunit", "max by (R) (cohort_accuracy_mean{S})"),
				overSteps("Tokens sampled", "short", "sum by (R) (cohort_learner_sampled_tokens_total{S})"),
			}},
		},
	}
}

// overSteps compares runs at the same step, however fast each is.
func overSteps(title, unit, expr string) panel {
	return panel{kind: byStep, title: title + " by step", unit: unit, names: []string{title},
		about:   "Horizontal: the step of the run. Runs of different speed are compared at the same amount of training.",
		queries: []query{{step, ""}, {expr, ""}}}
}
