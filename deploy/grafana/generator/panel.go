package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/xychart"
)

// How a panel draws its queries.
type kind int

const (
	lines  kind = iota // over time
	shares             // over time, stacked to 100 %
	number             // the last value, large
	heat               // buckets of a histogram over time
	rows               // a table of the last values, a column per query
	byStep             // over the step of the run: the first query is the step
	states             // a band per series, coloured by its value
)

type query struct {
	expr   string // see expand
	legend string
}

// panel is what a dashboard says of one panel; its place follows from the widths of those before it.
type panel struct {
	kind    kind
	title   string
	about   string // what it shows and how to read it
	unit    string
	width   uint32 // of 24 columns; 0: 8
	height  uint32 // 0: 8, of numbers 4
	queries []query
	bad     []limit // from where on a value is worth a look
	zero    bool    // the axis begins at 0
	log     bool    // logarithmic axis
	names   []string
}

// limit colours values from `from` on.
type limit struct {
	from  float64
	color string
}

func warnAbove(value float64) []limit  { return []limit{{value, "orange"}} }
func alarmAbove(value float64) []limit { return []limit{{value, "red"}} }

// alarmBelow: red up to `value`.
func alarmBelow(value float64) []limit { return []limit{{-1e300, "red"}, {value, "green"}} }

// expand replaces what all queries have in common: {S and {S, for the chosen runs, (R) for what tells runs apart,
// [w] for the window that averages are over, and [i] for the shortest window that has two scrapes in it.
func expand(expr string) string {
	return strings.NewReplacer(
		"{S", `{namespace=~"$namespace", run=~"$run"`,
		"{P", `{namespace=~"$namespace", run=~"$run", role=~"$role"`,
		"(R)", "(namespace, run)", "(R, ", "(namespace, run, ",
		"[w]", "[$window]", "[i]", "[$__rate_interval]").Replace(expr)
}

var datasource = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

func (p panel) targets() []cog.Builder[variants.Dataquery] {
	var all []cog.Builder[variants.Dataquery]
	for i, q := range p.queries {
		target := prometheus.NewDataqueryBuilder().Datasource(datasource).Expr(expand(q.expr)).
			RefId(string(rune('A' + i))).EditorMode(prometheus.QueryEditorModeCode)
		switch p.kind {
		case rows:
			target = target.Format(prometheus.PromQueryFormatTable).Instant()
		case byStep:
			target = target.Format(prometheus.PromQueryFormatTable).Range()
		case heat:
			target = target.Format(prometheus.PromQueryFormatHeatmap).Range().LegendFormat("{{le}}")
		default:
			target = target.Range().LegendFormat(q.legend)
		}
		all = append(all, target)
	}
	return all
}

func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Value: nil, Color: "green"}}
	for _, limit := range p.bad {
		if limit.from == -1e300 {
			steps[0].Color = limit.color
			continue
		}
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(limit.from), Color: limit.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) place() (width, height uint32) {
	width, height = p.width, p.height
	if width == 0 {
		width = 8
	}
	if height == 0 && p.kind == number {
		height = 4
	} else if height == 0 {
		height = 8
	}
	return width, height
}

func (p panel) build(id uint32, x, y uint32) cog.Builder[dashboard.Panel] {
	width, height := p.place()
	at := dashboard.GridPos{X: x, Y: y, W: width, H: height}
	switch p.kind {
	case number:
		return p.number(id, at)
	case heat:
		return p.heat(id, at)
	case rows:
		return p.rows(id, at)
	case byStep:
		return p.byStep(id, at)
	case states:
		return p.states(id, at)
	}
	return p.lines(id, at)
}

func (p panel) lines(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	built := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit(p.unit).Thresholds(p.thresholds()).LineWidth(1).
		ShowPoints(common.VisibilityModeAuto).SpanNulls(common.BoolOrFloat64{Float64: cog.ToPtr(600000.0)}).
		Legend(legend()).Tooltip(tooltip())
	if p.kind == shares {
		built = built.FillOpacity(60).Min(0).Max(1).
			Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModePercent).Group("A"))
	}
	if len(p.bad) > 0 {
		built = built.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	if p.zero {
		built = built.Min(0)
	}
	if p.log {
		built = built.ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10))
	}
	return built
}

func (p panel) number(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	return stat.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit(p.unit).Thresholds(p.thresholds()).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		Orientation(common.VizOrientationAuto).GraphMode(common.BigValueGraphModeArea).TextMode(common.BigValueTextModeAuto)
}

func (p panel) heat(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	return heatmap.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit("short").Calculate(false).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle)).YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Viridis").Steps(64))
}

// The columns of a table are the queries' last values, joined by their labels.
func (p panel) rows(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	rename := map[string]string{}
	for i, name := range p.names {
		rename["Value #"+string(rune('A'+i))] = name
	}
	if len(p.queries) == 1 && len(p.names) == 1 {
		rename = map[string]string{"Value": p.names[0]}
	}
	return table.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit(p.unit).Thresholds(p.thresholds()).ShowHeader(true).
		Transformations([]dashboard.DataTransformerConfig{
			{Id: "merge", Options: map[string]any{}},
			{Id: "organize", Options: map[string]any{"excludeByName": map[string]any{"Time": true}, "renameByName": rename}},
		})
}

// Runs side by side at the same step: a row per scrape and run, then a frame per run, drawn over its step.
func (p panel) byStep(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	return xychart.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit(p.unit).Mapping(xychart.SeriesMappingAuto).Show(xychart.XYShowModeLines).
		Legend(legend()).Tooltip(tooltip()).
		Series([]cog.Builder[xychart.XYSeriesConfig]{xychart.NewXYSeriesConfigBuilder().
			X(xychart.NewXychartXYSeriesConfigXBuilder().
				Matcher(xychart.NewMatcherConfigBuilder().Id("byName").Options("Step")))}).
		Transformations([]dashboard.DataTransformerConfig{
			{Id: "merge", Options: map[string]any{}},
			{Id: "organize", Options: map[string]any{
				"excludeByName": map[string]any{"Time": true, "namespace": true},
				"renameByName":  map[string]string{"Value #A": "Step", "Value #B": p.names[0]}}},
			{Id: "partitionByValues", Options: map[string]any{"fields": []string{"run"}, "keepFields": false}},
		})
}

func (p panel) states(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	return statetimeline.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).GridPos(at).Datasource(datasource).
		Targets(p.targets()).Unit(p.unit).Thresholds(p.thresholds()).MergeValues(true).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		ShowValue(common.VisibilityModeNever).Legend(legend()).Tooltip(tooltip())
}

func legend() *common.VizLegendOptionsBuilder {
	return common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).
		Placement(common.LegendPlacementBottom)
}

func tooltip() *common.VizTooltipOptionsBuilder {
	return common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderNone)
}

// check says what a panel lacks.
func (p panel) check() error {
	if p.title == "" || p.about == "" || p.unit == "" || len(p.queries) == 0 {
		return fmt.Errorf("panel %q: expected a title, a description, a unit and a query", p.title)
	}
	if p.kind == byStep && (len(p.queries) != 2 || len(p.names) != 1) {
		return fmt.Errorf("panel %q: expected the step and one value", p.title)
	}
	return nil
}
