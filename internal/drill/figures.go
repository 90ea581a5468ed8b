package drill

import "time"

// Figures is what follows from a drill's sealed record: what findings judge and
// reports show. Times count from Began.
type Figures struct {
	Plan    Plan          `json:"plan"`
	Began   time.Time     `json:"began"`
	Length  time.Duration `json:"length"`
	Aborted string        `json:"aborted,omitempty"`

	Phases  []Span         `json:"phases"` // before, fault, recover, after
	Marks   []Mark         `json:"marks"`  // actions, for plots
	Probes  []ProbeFigures `json:"probes"`
	Budget  BudgetFigures  `json:"budget"`
	Ready   []ReadyPoint   `json:"ready,omitempty"` // ready endpoints of the release's Services together
	Recover *time.Duration `json:"recover"`         // from the first action until all is ready and answers again; nil: not within the drill

	// RecoveredAt is when that was, from Began.
	RecoveredAt *time.Duration `json:"recoveredAt"`

	Violations []Violation  `json:"violations"`
	Refused    int          `json:"refused"` // evictions that a budget refused (429)
	Pods       []PodFigures `json:"pods"`    // that were made during the drill

	// Problems are what could not be measured. With one of them nothing passes.
	Problems []string `json:"problems"`
	// Conclusion is one line: "0.4 of 3.6 s of the error budget spent; recovered in 8.2 s".
	Conclusion string `json:"conclusion"`
}

// Span is a part of the drill.
type Span struct {
	Name string        `json:"name"`
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// Mark is a moment of the drill that plots show.
type Mark struct {
	At    time.Duration `json:"at"`
	Label string        `json:"label"` // "evict shop/web-abc"
	Bad   bool          `json:"bad,omitempty"`
}

// ProbeFigures are those of one probe.
type ProbeFigures struct {
	Name         string         `json:"name"`
	Address      string         `json:"address"`
	Rate         float64        `json:"rate"`
	Due          int            `json:"due"` // requests
	Failed       int            `json:"failed"`
	Unsent       int            `json:"unsent"`
	Outcomes     map[string]int `json:"outcomes"`     // of failed ones, by outcome
	Availability float64        `json:"availability"` // good of due, 0 to 1
	// Downtime is the sum of the spans in which no request was good; Longest the
	// longest of them.
	Downtime time.Duration `json:"downtime"`
	Longest  time.Duration `json:"longest"`
	Before   Latency       `json:"before"`
	During   Latency       `json:"during"` // fault and recover
	After    Latency       `json:"after"`
	Seconds  []Second      `json:"seconds"` // a point for every second
}

// Latency is that of the good requests of a phase, from when each was due.
type Latency struct {
	Good int           `json:"good"`
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	Max  time.Duration `json:"max"`
}

// Second is what became of the requests that were due in one second.
type Second struct {
	Due  int           `json:"due"`
	Good int           `json:"good"`
	P99  time.Duration `json:"p99"` // of the good ones
}

// BudgetFigures say what the drill spent of the error budget, in seconds of
// failed requests. Several probes count by the worst of them.
type BudgetFigures struct {
	Seconds float64 `json:"seconds"` // of the whole window
	Allowed float64 `json:"allowed"` // that the drill may spend
	Spent   float64 `json:"spent"`
	Share   float64 `json:"share"` // Spent / Seconds
}

// ReadyPoint is a change of the number of ready endpoints.
type ReadyPoint struct {
	At    time.Duration `json:"at"`
	Ready int           `json:"ready"`
}

// Violation is a span in which a PodDisruptionBudget had fewer healthy pods than
// it desires.
type Violation struct {
	Budget  string        `json:"budget"`
	From    time.Duration `json:"from"`
	To      time.Duration `json:"to"`
	Desired int32         `json:"desired"`
	Lowest  int32         `json:"lowest"` // healthy pods
	// Pods are those whose loss left fewer healthy than desired, each once.
	Pods []string `json:"pods"`
}

// PodFigures are how long a new pod took, from its creation; nil: it never got there.
type PodFigures struct {
	Name      string         `json:"name"`
	Scheduled *time.Duration `json:"scheduled"`
	Pulled    *time.Duration `json:"pulled"`
	Ready     *time.Duration `json:"ready"`
	Reason    string         `json:"reason,omitempty"` // why it did not become ready
}
