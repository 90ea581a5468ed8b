// Package parts names what a build of the program leaves out: the SDKs of cloud
// services are behind the build tag cloud, since they are a fifth of what is
// compiled the first time.
package parts

import "fmt"

// Missing is the error of a build that was made without a part.
func Missing(part string) error {
	return fmt.Errorf("this build has no %s: make build makes one that has (go build -tags cloud)", part)
}
