package metrics

import "slices"

// Type is what kind of figure an instrument is.
type Type string

// The types.
const (
	Counter   Type = "counter"   // only grows while the process lives
	Gauge     Type = "gauge"     // how something is now
	Histogram Type = "histogram" // how often something was at most so much
)

// An Instrument is what the registry says of one metric. docs/metrics.md is generated
// from it. A name is a contract: it is never given a second meaning.
type Instrument struct {
	Name string
	Type Type
	// Unit is the base unit: "seconds", "bytes", or what is counted.
	Unit   string
	Labels []string
	// Meaning is also the HELP text.
	Meaning string
	// Bad says what to do when it is not as it should be.
	Bad string
	// Entries is the search of the log that finds what is behind it; "–" for none.
	Entries string
	// keep are the labels that its time series keep; others are added up. nil keeps no
	// series.
	keep []string
	// least says that of several figures the least counts, and not their sum.
	least bool
}

// Kept returns the labels that its time series keep, and whether it has some.
func (i *Instrument) Kept() ([]string, bool) { return slices.Clone(i.keep), i.keep != nil }

// Names of the instruments that this package itself counts or reads.
const (
	nameCalls         = "gatehouse_calls_total"
	nameCallSeconds   = "gatehouse_call_duration_seconds"
	nameOwnSeconds    = "gatehouse_call_own_duration_seconds"
	namePartSeconds   = "gatehouse_call_part_duration_seconds"
	nameReplyBytes    = "gatehouse_call_reply_bytes_total"
	nameUpstream      = "gatehouse_upstream_errors_total"
	nameRefusals      = "gatehouse_refusals_total"
	nameRenewals      = "gatehouse_renewals_total"
	nameDeliveries    = "gatehouse_event_deliveries_total"
	nameEgress        = "gatehouse_egress_requests_total"
	nameEgressSent    = "gatehouse_egress_sent_bytes_total"
	nameEgressBack    = "gatehouse_egress_received_bytes_total"
	nameRecognised    = "gatehouse_lineage_hits_total"
	nameSignIns       = "gatehouse_operator_sign_ins_total"
	nameFactorAlarms  = "gatehouse_factor_alarms_total"
	nameEntries       = "gatehouse_log_entries_total"
	nameAppendSeconds = "gatehouse_log_append_duration_seconds"
	nameLookFailures  = "gatehouse_look_failures_total"
	nameBuild         = "gatehouse_build_info"
	nameDropped       = "gatehouse_trace_dropped_total"
	nameExports       = "gatehouse_telemetry_exports_total"
)

// Names of the instruments that are read from the rest of Gatehouse; see Look.
const (
	Connections        = "gatehouse_connections"
	DutiesOpen         = "gatehouse_duties_open"
	DutiesOverdue      = "gatehouse_duties_overdue"
	DutyDeadline       = "gatehouse_duty_nearest_deadline_timestamp_seconds"
	Events             = "gatehouse_events"
	EventOldest        = "gatehouse_event_oldest_waiting_timestamp_seconds"
	LogCondition       = "gatehouse_log_condition"
	LogReserve         = "gatehouse_log_reserve_held"
	LogQueued          = "gatehouse_log_queued_entries"
	LogOwed            = "gatehouse_log_owed_deeds"
	LogSize            = "gatehouse_log_stored_entries"
	LineageHeld        = "gatehouse_lineage_fingerprints"
	LineageLimit       = "gatehouse_lineage_fingerprints_limit"
	LineageReady       = "gatehouse_lineage_index_ready"
	ExportLag          = "gatehouse_export_lag_entries"
	ExportLagSeconds   = "gatehouse_export_lag_seconds"
	ExportState        = "gatehouse_export_state"
	KeyCreated         = "gatehouse_key_created_timestamp_seconds"
	RootKeyState       = "gatehouse_root_key_state"
	RootKeyServesUntil = "gatehouse_root_key_serves_until_timestamp_seconds"
	BudgetLeft         = "gatehouse_budget_remaining_ratio"
)

// Outcomes of calls, as the label of gatehouse_calls_total has them.
const (
	OutcomeDone       = "done"
	OutcomeFailed     = "failed"
	OutcomeAborted    = "aborted"
	OutcomeRefused    = "refused"
	OutcomeUnrecorded = "unrecorded"
)

// Instruments returns the registry. Beside it /metrics shows what client_golang says of
// the Go runtime (go_...) and the process (process_...).
func Instruments() []Instrument { return slices.Clone(instruments) }

// byName finds an instrument.
var byName = func() map[string]*Instrument {
	all := make(map[string]*Instrument, len(instruments))
	for i := range instruments {
		all[instruments[i].Name] = &instruments[i]
	}
	return all
}()

// OTLPUnit is an instrument's unit as OpenTelemetry writes it (UCUM): "s", "By", "1", or
// what is counted in braces; "" for what is not ours.
func OTLPUnit(name string) string {
	i := byName[name]
	switch {
	case i == nil:
		return ""
	case i.Unit == "seconds":
		return "s"
	case i.Unit == "bytes":
		return "By"
	case i.Unit == "ratio" || i.Unit == "boolean" || i.Unit == "info":
		return "1"
	}
	return "{" + i.Unit + "}"
}
