package helm

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// shareScheme lets Helm's linter look deprecated kinds up in one scheme of all
// Kubernetes types. It asks client-go's AddToScheme for a new scheme per object,
// more than half of what linting costs; that AddToScheme is a variable. A scheme
// that has types already is filled as before.
var shareScheme = sync.OnceFunc(func() {
	fill := scheme.AddToScheme
	all := runtime.NewScheme()
	if fill(all) != nil {
		return
	}
	scheme.AddToScheme = func(s *runtime.Scheme) error {
		if len(s.AllKnownTypes()) > 0 {
			return fill(s)
		}
		*s = *all
		return nil
	}
})
