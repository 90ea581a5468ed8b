package secrets

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// tool is how a command-line tool is told a password by words that do not say so.
// Options that do, such as --password, are looked at like any other name.
type tool struct {
	names string // its commands, with blanks between
	needs string // one of these words stands among its arguments; "" needs none
	next  string // options before a password
	glued string // options with the password behind them in the same word
	pair  string // options before user:password, or glued to it
	sign  string // what parts user and password, if not a colon
	stem  string // what a word begins with that a password follows
	order string // after one of needs, the password's place among the words that are no options
	flag  string // with this flag of one letter, the last word is the password
	first bool   // what follows its own options is another command
}

// tools are those that charts run, as their manuals have it.
var tools = []tool{
	{names: "mysql mysqladmin mysqldump mysqlcheck mysqlimport mysqlshow mysqlslap mysqlsh mysqlbinlog mariadb mariadb-admin mariadb-dump mariadb-check mariadb-import", glued: "-p"},
	{names: "sshpass", next: "-p", glued: "-p", first: true},
	{names: "redis-cli valkey-cli keydb-cli", next: "-a"},
	{names: "redis-benchmark", next: "-a"},
	{names: "curl", pair: "-u --user -U --proxy-user"},
	{names: "http https", pair: "-a --auth"},
	{names: "etcdctl", pair: "--user"},
	{names: "skopeo", pair: "--creds --src-creds --dest-creds"},
	{names: "docker podman nerdctl buildah helm oras crane regctl az oc", needs: "login", next: "-p", glued: "-p"},
	{names: "mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat", next: "-p", glued: "-p"},
	{names: "cqlsh cypher-shell beeline hdbsql nodetool", next: "-p -pw"},
	{names: "ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldapmodrdn ldapcompare", next: "-w", glued: "-w"},
	{names: "ldappasswd", next: "-w -s", glued: "-w -s"},
	{names: "sqlcmd bcp isql tsql", next: "-P", glued: "-P"},
	{names: "mosquitto_pub mosquitto_sub mosquitto_rr", next: "-P"},
	{names: "ipmitool zip unzip", next: "-P"},
	{names: "7z 7za", glued: "-p"},
	{names: "snmpget snmpwalk snmpset", next: "-A -X"},
	{names: "kadmin", next: "-w"},
	{names: "openssl", stem: "pass:"},
	{names: "mc mcli", needs: "set add", order: "4"},
	{names: "rabbitmqctl", needs: "add_user change_password authenticate_user", order: "2"},
	{names: "elasticsearch-users", needs: "useradd passwd", next: "-p"},
	{names: "aws", needs: "aws_secret_access_key aws_session_token", order: "1"},
	{names: "htpasswd", flag: "b"},
	{names: "smbclient smbget rpcclient", pair: "-U --user", sign: "%"},
	{names: "vault", needs: "login", order: "1"},
}

var toolsByName = sync.OnceValue(func() map[string]*tool {
	byName := map[string]*tool{}
	for i := range tools {
		for _, name := range strings.Fields(tools[i].names) {
			byName[name] = &tools[i]
		}
	}
	return byName
})

// argument is a password in words[word][from:to].
type argument struct{ word, from, to int }

// passwords returns the passwords that the words of a simple command hold.
func passwords(words []string) (out []argument) {
	for i, w := range words {
		t := toolsByName()[path.Base(w)]
		if t == nil || i > 0 && (words[0] == "echo" || words[0] == "printf") {
			continue
		}
		for _, a := range t.passwordsOf(words[i+1:]) {
			out = append(out, argument{a.word + i + 1, a.from, a.to})
		}
	}
	return out
}

func (t *tool) passwordsOf(args []string) (out []argument) {
	if i := slices.IndexFunc(args, redirection.MatchString); i >= 0 {
		args = args[:i]
	}
	if t.first {
		args = args[:min(2, len(args))]
		if len(args) == 0 || !strings.HasPrefix(args[0], "-p") {
			return nil // its password is in a file or a variable
		}
	}
	needed := -1
	if t.needs != "" {
		if needed = slices.IndexFunc(args, func(a string) bool { return slices.Contains(strings.Fields(t.needs), a) }); needed < 0 {
			return nil
		}
	}
	sign := cmp.Or(t.sign, ":")
	add := func(word, from int) {
		if v := args[word][from:]; isTyped(v) {
			out = append(out, argument{word, from, len(args[word])})
		}
	}
	if t.flag != "" {
		last := len(args) - 1
		if last > 1 && !strings.HasPrefix(args[last], "-") && slices.ContainsFunc(args, func(a string) bool { return flags.MatchString(a) && strings.Contains(a, t.flag) }) {
			add(last, 0)
		}
		return out
	}
	place := 0
	for i, a := range args {
		if t.order != "" && i > needed && !strings.HasPrefix(a, "-") {
			if place++; t.order == string(rune('0'+place)) {
				add(i, 0)
			}
		}
		if t.stem != "" && strings.HasPrefix(a, t.stem) {
			add(i, len(t.stem))
		}
		before := ""
		if i > 0 {
			before = args[i-1]
		}
		switch {
		case slices.Contains(strings.Fields(t.next), before) && !strings.HasPrefix(a, "-"):
			add(i, 0)
			continue
		case t.pair != "" && isPair(strings.Fields(t.pair), before):
			if colon := strings.Index(a, sign); colon >= 0 && !strings.HasPrefix(a, "-") {
				add(i, colon+1)
			}
			continue
		}
		for _, o := range strings.Fields(t.glued) {
			if len(a) > len(o) && strings.HasPrefix(a, o) && a[len(o)] != '-' && a[len(o)] != '=' {
				add(i, len(o))
			}
		}
		for _, o := range strings.Fields(t.pair) {
			long := strings.HasPrefix(o, "--")
			if long && !strings.HasPrefix(a, o+"=") || !long && (!strings.HasPrefix(a, o) || len(a) == len(o)) {
				continue
			}
			if colon := strings.Index(a, sign); colon >= 0 {
				add(i, colon+1)
			}
		}
	}
	return out
}

// isPair reports whether a word is one of options, or flags of one letter that end with one.
func isPair(options []string, word string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return word == o || len(o) == 2 && flags.MatchString(word) && strings.HasSuffix(word, o[1:])
	})
}

var flags = lazily(`^-[A-Za-z]{1,6}$`)

// redirection matches words that say where input and output are.
var redirection = lazily(`^[0-9&]?[<>]`)

// isTyped reports whether a word was typed as a password: no variable, file or switch.
func isTyped(v string) bool {
	return !strings.HasPrefix(v, "$") && !strings.ContainsAny(v, "`") && !strings.Contains(v, "$(") && !strings.HasPrefix(v, "<") && isURLPassword(v) && !isElsewhere(v) && !capitals.MatchString(v)
}

// tools looks at the commands in a text.
func (r *reading) tools() { r.commands(0, len(r.text), 0) }

// shellWord is one word of a command, without the quotes around it.
type shellWord struct {
	from, to int
	quoted   bool
}

// commands looks at the commands in text[from:to]: at those that quotes hold, too.
func (r *reading) commands(from, to, depth int) {
	if depth > 4 || !toolNames().MatchString(r.text[from:to]) {
		return
	}
	var typed *shellWord // what the command before a pipe writes
	for i := from; i < to; {
		var list []shellWord
		var end string
		list, end, i = r.command(i, to)
		words := make([]string, len(list))
		for n, w := range list {
			words[n] = r.text[w.from:w.to]
		}
		for _, a := range passwords(words) {
			w := list[a.word]
			begin, stop := w.from+a.from, w.from+a.to
			for begin < stop && strings.IndexByte(`"'`, r.text[begin]) >= 0 && r.text[stop-1] == r.text[begin] {
				begin, stop = begin+1, max(begin+1, stop-1)
			}
			if isTyped(r.text[begin:stop]) {
				r.add(begin, stop, "password")
			}
		}
		for n, w := range list {
			if w.quoted && (n > 0 && strings.HasSuffix(words[n-1], "c") && strings.HasPrefix(words[n-1], "-") || words[0] == "eval" || strings.Contains(words[n], "$(") || strings.Contains(words[n], "`")) {
				r.commands(w.from, w.to, depth+1)
			}
		}
		if typed != nil && slices.ContainsFunc(words, func(w string) bool { return readsPassword.MatchString(w) }) {
			begin := typed.from
			if slices.Contains(words, "chpasswd") {
				begin += strings.IndexByte(r.text[typed.from:typed.to], ':') + 1
			}
			if isTyped(r.text[begin:typed.to]) {
				r.add(begin, typed.to, "password")
			}
		}
		typed = nil
		if end == "|" && len(words) > 1 && (words[0] == "echo" || words[0] == "printf") {
			typed = &list[len(list)-1]
		}
	}
}

// readsPassword matches words of commands that read a password from their input.
var readsPassword = lazily(`^(--password-stdin|--stdin|--with-token|chpasswd|kinit)$`)

// toolNames matches texts in which one of tools, or a reader of passwords, is named.
var toolNames = sync.OnceValue(func() *regexp.Regexp {
	var names []string
	for name := range toolsByName() {
		names = append(names, regexp.QuoteMeta(name))
	}
	slices.Sort(names)
	return regexp.MustCompile(`\b(?:` + strings.Join(names, "|") + `|chpasswd|kinit)(?:\s|$)|--(?:password-stdin|stdin|with-token)\b`)
})

// command reads one simple command, what ended it, and where the next begins.
func (r *reading) command(i, to int) (words []shellWord, end string, next int) {
	t := r.text
	for i < to {
		switch c := t[i]; {
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '\\' && i+1 < to && (t[i+1] == '\n' || t[i+1] == '\r'):
			i += 2
		case strings.IndexByte("\n;|&()`", c) >= 0:
			end = t[i : i+1]
			for i < to && strings.IndexByte("\n;|&()`", t[i]) >= 0 {
				i++
			}
			return words, end, i
		case c == '#' && (i == 0 || strings.IndexByte(" \t\n", t[i-1]) >= 0):
			i = min(to, lineEnd(t, i)-1)
			if i < to && t[i] != '\n' {
				return words, "", to
			}
		default:
			w := r.shellWord(i, to)
			if i = w.to; w.quoted {
				i++
			}
			words = append(words, w)
		}
	}
	return words, "", to
}

// shellWord reads the word at i.
func (r *reading) shellWord(i, to int) shellWord {
	t := r.text
	from := i
	for i < to {
		switch c := t[i]; {
		case c == '\'' || c == '"':
			close := closingQuote(t[:to], i)
			if i == from && (close+1 >= to || strings.IndexByte(" \t\r\n;|&)`", t[close+1]) >= 0) {
				return shellWord{from + 1, min(close, to), true}
			}
			i = close + 1
		case c == '$' && i+1 < to && (t[i+1] == '(' || t[i+1] == '{'):
			if t[i+1] == '(' {
				return shellWord{from, i + 1, false} // the command begins behind it
			}
			if n := strings.IndexByte(t[i:to], '}'); n > 0 {
				i += n
			}
			i++
		case c == '\\':
			i += 2
		case strings.IndexByte(" \t\r\n;|&()`", c) >= 0:
			return shellWord{from, max(i, from+1), false}
		default:
			i++
		}
	}
	return shellWord{from, min(i, to), false}
}

// closingQuote is where the quote at i is closed, or the end.
func closingQuote(t string, i int) int {
	for j := i + 1; j < len(t); j++ {
		switch {
		case t[j] == '\\' && t[i] == '"':
			j++
		case t[j] == t[i]:
			return j
		}
	}
	return len(t)
}
