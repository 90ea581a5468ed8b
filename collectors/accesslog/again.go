package accesslog

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// SeenFile is the artifact that has what the logs say, and what they are judged by.
const SeenFile = "artifacts/" + Name + "/" + file

// DefaultMaxAge is how old the newest entry of a provider's logs may be where nothing
// else is said: a week.
const DefaultMaxAge = 7 * 24 * time.Hour

// Hold puts readers and an age in the place of those in a sealed SeenFile, which it
// returns. DefaultMaxAge does not loosen a stricter one. changed is nil where nothing
// changes. An error says that raw is no SeenFile.
func Hold(raw []byte, readers []string, maxAge time.Duration) (changed []byte, was Seen, err error) {
	if err := json.Unmarshal(raw, &was); err != nil {
		return nil, was, fmt.Errorf("%s: %w", SeenFile, err)
	}
	s := was
	if s.MaxAge = evidence.Duration(maxAge); maxAge == DefaultMaxAge {
		s.MaxAge = min(s.MaxAge, was.MaxAge)
	}
	if s.MaxAge == was.MaxAge && slices.Equal(readers, was.Readers) {
		return nil, was, nil
	}
	s.Readers = append([]string{}, readers...)
	changed, err = json.Marshal(s)
	return changed, was, err
}
