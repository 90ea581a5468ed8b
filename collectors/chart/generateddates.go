package chart

import (
	"strconv"
	"strings"
	"text/template"
	"time"
	_ "time/tzdata" // dates in a zone are the same on every machine
)

// ofClock is UTC, for what comes of the clock: no other date of a chart has it.
var ofClock = time.FixedZone("UTC", 0)

// generatedTime stands for the time of rendering.
var generatedTime = time.Date(2000, 1, 1, 0, 0, 0, 0, ofClock)

// otherTime stands for it in the other rendering: each of its parts is another.
var otherTime = time.Date(2031, 12, 30, 13, 47, 29, 123456789, ofClock)

// otherZones are farther from UTC than any place is, and at other minutes: what is the
// same in both and in UTC is the same everywhere.
var otherZones = []*time.Location{time.FixedZone("EARLY", (14*60+15)*60), time.FixedZone("LATE", -(12*60+15)*60)}

// localZone stands for the time zone of the machine.
func (r *rendering) localZone() *time.Location {
	if r.zone == 0 {
		return time.UTC
	}
	return otherZones[r.zone-1]
}

// dateFunctions are sprig's without clock and local time zone. What depends on the
// zone of the machine, or on whether it knows one, is recorded.
func (r *rendering) dateFunctions(use func(string) int) template.FuncMap {
	now := func(function string) time.Time {
		use(function)
		t := generatedTime
		if r.variant != 0 {
			t = otherTime
		}
		r.rec.text(function, r.current, strconv.FormatInt(t.Unix(), 10))
		return t
	}
	// moment is what sprig takes as a date; anything else means now.
	moment := func(function string, v any) time.Time {
		switch v := v.(type) {
		case time.Time:
			return v
		case *time.Time:
			if v != nil {
				return *v
			}
		case int64:
			return time.Unix(v, 0)
		case int:
			return time.Unix(int64(v), 0)
		case int32:
			return time.Unix(int64(v), 0)
		}
		return now(function)
	}
	in := func(function, layout string, v any, zone string) string {
		t := moment(function, v)
		clock := t.Location() == ofClock // is recorded as that
		loc := time.UTC
		switch named, err := time.LoadLocation(zone); {
		case err != nil || zone == "" || zone == "UTC":
		case clock && zone == "Local":
		case clock:
			loc = named
		case zone == "Local":
			r.rec.zone(function, r.current)
			loc = r.localZone()
		default: // a machine without a list of zones takes UTC
			r.rec.zone(function, r.current)
			if r.zone == 0 {
				loc = named
			}
		}
		text := t.In(loc).Format(layout)
		if clock {
			r.rec.text(function, r.current, text)
			r.rec.text("now", r.current, text)
		}
		return text
	}
	inZone := func(name string) func(string, any, string) string {
		return func(layout string, v any, zone string) string { return in(name, layout, v, zone) }
	}
	toDate := func(function, layout, s string) (time.Time, error) {
		t, err := time.ParseInLocation(layout, s, r.localZone())
		if err != nil {
			return t, err
		}
		r.rec.zone(function, r.current)
		if strings.Contains(layout, "-07") || strings.Contains(layout, "Z07") { // it says its zone, of which a machine may know the name
			if name, offset := t.Zone(); r.zone != 0 && !strings.HasSuffix(s, "Z") {
				t = t.In(time.FixedZone(name+r.localZone().String(), offset))
			}
			return t, nil
		}
		switch r.zone { // there are zones that leave any given hour out
		case 1:
			t = t.Add(time.Hour)
		case 2:
			t = t.Add(-time.Hour)
		}
		return t, err
	}
	durationRound := durationRounder()
	return template.FuncMap{
		"now":            func() time.Time { return now("now") },
		"date":           func(layout string, v any) string { return in("date", layout, v, "Local") },
		"htmlDate":       func(v any) string { return in("htmlDate", time.DateOnly, v, "Local") },
		"htmlDateInZone": func(v any, zone string) string { return in("htmlDateInZone", time.DateOnly, v, zone) },
		"dateInZone":     inZone("dateInZone"),
		"date_in_zone":   inZone("date_in_zone"),
		"toDate": func(layout, s string) time.Time {
			t, _ := toDate("toDate", layout, s) // the zero time when s is no date, as in sprig
			return t
		},
		"mustToDate": func(layout, s string) (time.Time, error) { return toDate("mustToDate", layout, s) },
		"ago": func(v any) string {
			return now("ago").Sub(moment("ago", v)).Round(time.Second).String()
		},
		"durationRound": func(v any) string {
			if t, ok := v.(time.Time); ok {
				v = int64(now("durationRound").Sub(t))
			}
			return durationRound(v)
		},
	}
}
