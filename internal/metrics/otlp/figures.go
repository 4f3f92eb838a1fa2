package otlp

import (
	"time"

	dto "github.com/prometheus/client_model/go"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
)

// metricsRequest is one message for all figures, under the names that Prometheus sees.
func (e *Exporter) metricsRequest(families []*dto.MetricFamily, now time.Time) *collector.ExportMetricsServiceRequest {
	list := make([]*metrics.Metric, 0, len(families))
	span := span{nanoseconds(e.config.Since), nanoseconds(now)}
	for _, f := range families {
		m := &metrics.Metric{Name: f.GetName(), Description: f.GetHelp()}
		if e.config.Unit != nil {
			m.Unit = e.config.Unit(f.GetName())
		}
		if span.fill(m, f) {
			list = append(list, m)
		}
	}
	return &collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource:     e.resource,
		ScopeMetrics: []*metrics.ScopeMetrics{{Scope: &common.InstrumentationScope{Name: "gatehouse/metrics"}, Metrics: list}},
	}}}
}

// span is from when to when is counted.
type span struct{ from, to uint64 }

const cumulative = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

// fill takes a family's figures over; false for a kind that nothing here has.
func (s span) fill(m *metrics.Metric, f *dto.MetricFamily) bool {
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		sum := &metrics.Sum{IsMonotonic: true, AggregationTemporality: cumulative}
		for _, one := range f.GetMetric() {
			sum.DataPoints = append(sum.DataPoints, s.number(one, one.GetCounter().GetValue()))
		}
		m.Data = &metrics.Metric_Sum{Sum: sum}
	case dto.MetricType_GAUGE:
		gauge := &metrics.Gauge{}
		for _, one := range f.GetMetric() {
			point := s.number(one, one.GetGauge().GetValue())
			point.StartTimeUnixNano = 0
			gauge.DataPoints = append(gauge.DataPoints, point)
		}
		m.Data = &metrics.Metric_Gauge{Gauge: gauge}
	case dto.MetricType_HISTOGRAM:
		histogram := &metrics.Histogram{AggregationTemporality: cumulative}
		for _, one := range f.GetMetric() {
			histogram.DataPoints = append(histogram.DataPoints, s.histogram(one))
		}
		m.Data = &metrics.Metric_Histogram{Histogram: histogram}
	case dto.MetricType_SUMMARY:
		summary := &metrics.Summary{}
		for _, one := range f.GetMetric() {
			summary.DataPoints = append(summary.DataPoints, s.summary(one))
		}
		m.Data = &metrics.Metric_Summary{Summary: summary}
	default:
		return false
	}
	return true
}

func labels(m *dto.Metric) []*common.KeyValue {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, l.GetName(), l.GetValue())
	}
	return attributes(pairs...)
}

func (s span) number(m *dto.Metric, v float64) *metrics.NumberDataPoint {
	return &metrics.NumberDataPoint{
		Attributes: labels(m), StartTimeUnixNano: s.from, TimeUnixNano: s.to, Value: &metrics.NumberDataPoint_AsDouble{AsDouble: v},
	}
}

// histogram has its buckets apart, where Prometheus adds each to the ones before.
func (s span) histogram(m *dto.Metric) *metrics.HistogramDataPoint {
	h := m.GetHistogram()
	sum := h.GetSampleSum()
	p := &metrics.HistogramDataPoint{Attributes: labels(m), StartTimeUnixNano: s.from, TimeUnixNano: s.to, Count: h.GetSampleCount(), Sum: &sum}
	before := uint64(0)
	for _, b := range h.GetBucket() {
		p.ExplicitBounds = append(p.ExplicitBounds, b.GetUpperBound())
		p.BucketCounts = append(p.BucketCounts, b.GetCumulativeCount()-before)
		before = b.GetCumulativeCount()
	}
	p.BucketCounts = append(p.BucketCounts, h.GetSampleCount()-before)
	return p
}

func (s span) summary(m *dto.Metric) *metrics.SummaryDataPoint {
	h := m.GetSummary()
	p := &metrics.SummaryDataPoint{Attributes: labels(m), StartTimeUnixNano: s.from, TimeUnixNano: s.to, Count: h.GetSampleCount(), Sum: h.GetSampleSum()}
	for _, q := range h.GetQuantile() {
		p.QuantileValues = append(p.QuantileValues, &metrics.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
	}
	return p
}
