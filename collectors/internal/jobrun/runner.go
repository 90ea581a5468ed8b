// Package jobrun runs Jobs in a namespace that a run makes for itself and
// removes, also after a crash, and reads what their programs printed whole.
package jobrun

import (
	"time"

	"k8s.io/client-go/kubernetes"
)

// What became of a Job that has no result.
const (
	OutcomeFailed     = "failed"      // the Job failed, was refused or deleted
	OutcomeNotStarted = "not-started" // its pod could not start
	OutcomeTimeout    = "timeout"     // it did not end in time
	OutcomeNoOutput   = "no-output"   // it ended, but what it printed could not be read whole
)

// CleanupLimit is how long RemoveNamespace may take.
const CleanupLimit = 90 * time.Second

// Runner is one run's Jobs.
type Runner struct {
	Kube kubernetes.Interface
	// Component names the run's kind, "kube-bench": namespaces are labelled with it.
	Component string
	// PodSecurity is the level that the namespace enforces.
	PodSecurity string
	// Lives is how long the run's namespace belongs to it; after that anybody's next
	// run removes it.
	Lives time.Duration

	JobTimeout time.Duration // of one Job
	Start      time.Duration // how long a pod may take to start
	Poll       time.Duration // between looks at a Job
	Margin     time.Duration // over JobTimeout, for the Job's own deadline to show
	Warn       func(string)  // what a user should know that is no evidence
	Now        func() time.Time

	Namespace string // that MakeNamespace made
}
