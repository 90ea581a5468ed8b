package report

import (
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// Input is everything a report may be made from: the content of one bundle.
type Input struct {
	BundleID    evidence.Digest // empty: nothing was sealed, and the report says so
	Release     evidence.Release
	Profile     *evidence.Profile
	Catalog     *evidence.Catalog
	Runs        evidence.Runs
	Findings    []evidence.Finding // in sealed order
	Verdict     evidence.Verdict
	Artifacts   []Artifact
	SignerKeyID string

	// Of a drill: what follows from its sealed record, or why nothing does.
	Drill       *drill.Figures
	DrillUnread string
}

// Artifact is one file of evidence.zip; Size is in bytes.
type Artifact struct {
	Name   string
	Digest evidence.Digest
	Size   int64
}

// Document is the view model: what a report says, in the order in which it says
// it. Strings are as in the evidence; a renderer escapes them, and passes what
// people read through Visible.
type Document struct {
	Title      string // "payments 1.4.2"
	Sealed     bool
	Verdict    Verdict
	Facts      []Fact // what was judged, by what, by whom, when: the cover
	Counts     []Count
	Findings   FindingCounts
	Severities []SeverityCount // failed findings, worst first
	Actions    []Action        // what to do first
	Conclusion string          // one line over the plot of Groups
	Drill      *Drill          // nil: this is no drill

	Reasons    []Control // failed and unchecked controls, worst first
	Groups     []Group
	Sections   []Section // findings by control, worst control first
	Waivers    []Waiver
	NotChecked []NotChecked
	Outside    []ControlRef // controls of the catalog that the profile does not ask for
	Limits     []string     // what the evidence cannot prove
	Verify     []Step

	Digests   []Fact
	Inputs    []BundleInput // a composed verdict's bundles
	Images    []string
	Runs      []Run
	Tool      string
	Artifacts []Artifact

	EvaluatedAt time.Time

	in Input
}

// Verdict is the answer.
type Verdict struct {
	Mark    Mark
	Reason  string
	Profile string
}

// Fact is a labelled value. Mono asks for fixed-width figures (digests, names).
type Fact struct {
	Label string
	Value string
	Mono  bool
}

// Count is a number of controls with one outcome.
type Count struct {
	Mark Mark
	N    int
}

// FindingCounts counts findings by what became of them.
type FindingCounts struct {
	Total, Failed, Warned, Waived, NotChecked, Passed, NotApplicable int
}

// Group is a family of controls with the outcome of each.
type Group struct {
	ID, Title string
	Controls  []Control
	Counts    []Count // one for each of the six marks, in stacking order
}

// ControlRef names a control.
type ControlRef struct {
	ID     string
	Title  string
	Anchor string // "c-SEC-1"; empty when the document does not describe it
}

// Control is one control of the profile and what became of it.
type Control struct {
	ControlRef
	Mark        Mark
	Required    bool
	Severity    evidence.Severity
	Reason      string
	Statement   string
	Remediation string
	Frameworks  []FrameworkRef
	Counts      evidence.Counts
	Findings    []FindingRef // behind a fail, warn, waived or incomplete
	Evidence    []evidence.BundleRef
}

// FrameworkRef is what one outside standard calls a control.
type FrameworkRef struct {
	ID, Title, URL string
	Refs           []string
}

// FindingRef names a finding; Anchor is empty when it is not listed.
type FindingRef struct {
	ID, Object, Anchor string
}

// Section is the findings of one control. ID is empty for findings that no
// control of the profile asks about.
type Section struct {
	ControlRef
	Mark     Mark
	Severity evidence.Severity // the worst of its findings
	Group    string            // of the control; empty where there is none
	Findings []Finding
}

// Finding is one failed, warned or waived finding.
type Finding struct {
	ID, Anchor  string
	Mark        Mark
	Severity    evidence.Severity
	Rule        string
	Controls    []ControlRef
	Object      string // `Deployment payments/api container "api"`
	Location    string // "templates/deployment.yaml:12", relative to the chart
	Message     string
	Remediation string
	Evidence    []Evidence
	Waiver      *Waiver // the waiver that covers it
}

// Evidence says where a finding can be seen.
type Evidence struct {
	Artifact string
	Digest   evidence.Digest
	Where    string // "lines 12-20", "at /spec/0", or both; may be empty
}

// Waiver is one waiver and what it did.
type Waiver struct {
	Number     int // in the document, from 1
	Control    ControlRef
	Target     string // "Deployment named api in namespace payments"; "all targets"
	Reason     string
	ApprovedBy string
	ExpiresAt  time.Time
	Status     string // applied, expired, unused
	Effect     string // why it has that status: what it covers, or would
	Mark       Mark
	Findings   []FindingRef
}

// NotChecked is one thing that could not be checked, and why.
type NotChecked struct {
	What     string // an object, a control, a collector
	Controls []ControlRef
	Mark     Mark
	Why      string
	Evidence []Evidence
}

// Step is one way to check the report; Note says what the command shows.
type Step struct {
	Title   string
	Command string // one line, ready to paste
	Note    string
}

// BundleInput is one bundle that a composed verdict rests on.
type BundleInput struct {
	Bundle      evidence.Digest
	Scope       string
	EvaluatedAt time.Time
	Controls    []string
}

// Run is one collector's run.
type Run struct {
	Collector string
	Mark      Mark
	Error     string
	Started   time.Time
	Took      time.Duration
}

// Time writes t as reports show times: UTC, to the second; "unknown" for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Release returns what was judged, as sealed.
func (d *Document) Release() evidence.Release { return d.in.Release }

// BundleID is the evidence digest, or empty when nothing was sealed.
func (d *Document) BundleID() evidence.Digest { return d.in.BundleID }
