// Writes Cohort's dashboards for Grafana, one file each:
//
//	go run . FOLDER
//
// What is in them is in training.go, throughput.go, fleet.go and reliability.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

type section struct {
	title  string
	panels []panel
}

type board struct {
	name     string // of the file, and of the uid after "cohort-"
	title    string
	about    string
	sections []section
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run . FOLDER")
		os.Exit(2)
	}
	for _, b := range []board{training(), throughput(), fleet(), reliability()} {
		if err := b.write(os.Args[1]); err != nil {
			fmt.Fprintf(os.Stderr, "dashboard %s: %v\n", b.name, err)
			os.Exit(1)
		}
	}
}

func (b board) write(folder string) error {
	built, err := b.build()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(built, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, b.name+".json"), append(text, '\n'), 0o644)
}

func (b board) build() (dashboard.Dashboard, error) {
	builder := dashboard.NewDashboardBuilder(b.title).Uid("cohort-"+b.name).Description(b.about).
		Tags([]string{"cohort"}).Readonly().Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-3h", "now").Refresh("30s").Timezone("browser").
		Link(dashboard.NewDashboardLinkBuilder("Cohort").Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{"cohort"}).IncludeVars(true).KeepTime(true))
	for _, variable := range variables() {
		builder = builder.WithVariable(variable)
	}
	for _, annotation := range annotations() {
		builder = builder.Annotation(annotation)
	}
	id, y := uint32(0), uint32(0)
	for _, section := range b.sections {
		id++
		builder = builder.WithRow(dashboard.NewRowBuilder(section.title).Id(id).
			GridPos(dashboard.GridPos{X: 0, Y: y, W: 24, H: 1}))
		y++
		x, lowest := uint32(0), y
		for _, p := range section.panels {
			if err := p.check(); err != nil {
				return dashboard.Dashboard{}, err
			}
			width, height := p.place()
			if x+width > 24 {
				x, y = 0, lowest
			}
			id++
			builder = builder.WithPanel(p.build(id, x, y))
			x += width
			lowest = max(lowest, y+height)
		}
		y = lowest
	}
	built, err := builder.Build()
	if err != nil {
		return built, err
	}
	// The builders' own choice is a menu; without one both are above the panels.
	for i := range built.Links {
		built.Links[i].Placement = nil
	}
	for i := range built.Annotations.List {
		built.Annotations.List[i].Placement = nil
	}
	return built, nil
}

func variables() []cog.Builder[dashboard.VariableModel] {
	all := dashboard.VariableOption{
		Selected: cog.ToPtr(true),
		Text:     dashboard.StringOrArrayOfString{String: cog.ToPtr("All")},
		Value:    dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
	}
	labels := func(name, label, query, about string) *dashboard.QueryVariableBuilder {
		return dashboard.NewQueryVariableBuilder(name).Label(label).Description(about).Datasource(datasource).
			Query(dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": name}}).Definition(query).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
			Multi(true).IncludeAll(true).AllValue(".*").Current(all)
	}
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").
			Description("The Prometheus that scrapes the runs."),
		labels("namespace", "Namespace", "label_values(cohort_build_info, namespace)", "Of the runs; runs outside Kubernetes have none."),
		labels("run", "Run", `label_values(cohort_build_info{namespace=~"$namespace"}, run)`, "The runs to show, one line each."),
		labels("role", "Role", `label_values(cohort_build_info{namespace=~"$namespace", run=~"$run"}, role)`, "learner, rollout: for panels about processes."),
		dashboard.NewIntervalVariableBuilder("window").Label("Window").
			Description("What averages are over: several steps of the run at least.").
			Values(dashboard.StringOrMap{String: cog.ToPtr("1m,5m,15m,1h,6h")}).
			Current(dashboard.VariableOption{
				Selected: cog.ToPtr(true),
				Text:     dashboard.StringOrArrayOfString{String: cog.ToPtr("5m")},
				Value:    dashboard.StringOrArrayOfString{String: cog.ToPtr("5m")},
			}),
	}
}

func annotations() []cog.Builder[dashboard.AnnotationQuery] {
	event := func(name, color, metric string) *dashboard.AnnotationQueryBuilder {
		expr := expand("sum by (R) (changes(" + metric + "{S}[2m])) > 0")
		return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(datasource).Enable(true).IconColor(color).
			Expr(expr).Step("60s").TitleFormat(name).TextFormat("{{run}}").
			Target(prometheus.NewDataqueryBuilder().Expr(expr).RefId("Anno").Range().Datasource(datasource))
	}
	return []cog.Builder[dashboard.AnnotationQuery]{
		event("Checkpoint", "blue", "cohort_checkpoint_last_success_timestamp_seconds"),
		event("Evaluation", "purple", "cohort_eval_last_timestamp_seconds"),
	}
}
