package externalsecrets

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// SeenFile is the artifact that has what the cluster said, and the interval that it is
// held to.
const SeenFile = "artifacts/" + Name + "/" + file

// Hold puts a rotation interval in the place of the one in a sealed SeenFile, and
// returns that one. DefaultRotation does not loosen a stricter one. changed is nil
// where nothing changes: the interval is the same, or the evidence has none. An error
// says that raw is no SeenFile.
func Hold(raw []byte, rotation time.Duration) (changed []byte, was time.Duration, err error) {
	var s Seen
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", SeenFile, err)
	}
	was = time.Duration(s.Rotation)
	if rotation == DefaultRotation {
		rotation = min(rotation, was)
	}
	if was == 0 || was == rotation {
		return nil, was, nil
	}
	s.Rotation = evidence.Duration(rotation)
	changed, err = json.Marshal(s)
	return changed, was, err
}
