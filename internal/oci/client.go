package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/companyos/helmproof/evidence"
)

// Options says how to talk to registries.
type Options struct {
	PlainHTTP bool              // without TLS
	Keychain  authn.Keychain    // credentials; nil: those of docker login
	Transport http.RoundTripper // nil: that of the registry client
}

// Names are the options for parsing references.
func (o Options) Names() []name.Option {
	if o.PlainHTTP {
		return []name.Option{name.Insecure}
	}
	return nil
}

// Remote are the options for the registry client.
func (o Options) Remote() []remote.Option {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport
	}
	return []remote.Option{remote.WithAuthFromKeychain(o.Keychain), remote.WithTransport(o.Transport), remote.WithUserAgent("helmproof")}
}

// Client reads from registries: whole things only, of bounded size and with the
// digest that was asked for. What a method could not read is a Problem; its
// error is only ever that of the context.
type Client struct{ puller *remote.Puller }

// NewClient returns a client. It is safe for concurrent use.
func NewClient(o Options) (*Client, error) {
	p, err := remote.NewPuller(o.Remote()...)
	if err != nil {
		return nil, fmt.Errorf("registry client: %w", err)
	}
	return &Client{p}, nil
}

// Manifest reads a manifest or an index. The registry client bounds it at 4 MiB
// and checks its digest, where the reference has one.
func (c *Client) Manifest(ctx context.Context, ref name.Reference) ([]byte, *Problem, error) {
	desc, err := c.puller.Get(ctx, ref)
	if err != nil {
		return failed(ctx, err)
	}
	return desc.Manifest, nil, nil
}

// Referrers reads the index of what refers to a manifest.
func (c *Client) Referrers(ctx context.Context, ref name.Digest) ([]byte, *Problem, error) {
	idx, err := remote.Referrers(ref, remote.Reuse(c.puller), remote.WithContext(ctx))
	if err != nil {
		return failed(ctx, err)
	}
	raw, err := idx.RawManifest()
	if err != nil {
		return failed(ctx, err)
	}
	return raw, nil, nil
}

// Blob reads a blob of at most limit bytes.
func (c *Client) Blob(ctx context.Context, ref name.Digest, limit int64) ([]byte, *Problem, error) {
	layer, err := c.puller.Layer(ctx, ref)
	if err != nil {
		return failed(ctx, err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return failed(ctx, err)
	}
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return failed(ctx, err)
	}
	if int64(len(raw)) > limit {
		return nil, &Problem{Kind: TooLarge, Text: fmt.Sprintf("%s has more than the %d bytes that are read", ref.DigestStr(), limit)}, nil
	}
	if d := evidence.DigestOf(raw); string(d) != ref.DigestStr() {
		return nil, &Problem{Kind: Altered, Text: fmt.Sprintf("%s came as %s", ref.DigestStr(), d)}, nil
	}
	return raw, nil, nil
}

// Unpacked hands the unpacked bytes of a layer to read, which has to read them to
// their end: there another digest than the one asked for becomes an error. The
// error is a *Problem, that of read, or ctx's cause.
func (c *Client) Unpacked(ctx context.Context, ref name.Digest, size int64, read func(io.Reader) error) error {
	problem := func(err error) error {
		if p := ProblemOf(ctx, err); p != nil {
			return p
		}
		return context.Cause(ctx)
	}
	layer, err := c.puller.Layer(ctx, ref)
	if err != nil {
		return problem(err)
	}
	if n, err := layer.Size(); err != nil {
		return problem(err)
	} else if n != size {
		return &Problem{Kind: Altered, Text: fmt.Sprintf("%s has %d bytes, the manifest says %d", ref.DigestStr(), n, size)}
	}
	body, err := layer.Uncompressed()
	if err != nil {
		return problem(err)
	}
	err = errors.Join(read(body), body.Close())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func failed(ctx context.Context, err error) ([]byte, *Problem, error) {
	if p := ProblemOf(ctx, err); p != nil {
		return nil, p, nil
	}
	return nil, nil, context.Cause(ctx)
}

// Fetched is one request, as it is sealed: bytes, nothing there, or a problem.
type Fetched struct {
	Reference string          `json:"reference"`
	Digest    evidence.Digest `json:"digest,omitempty"` // of the sealed bytes
	Missing   bool            `json:"missing,omitempty"`
	Problem   *Problem        `json:"problem,omitempty"`
}

// Record says what came of a request.
func Record(ref name.Reference, raw []byte, p *Problem) Fetched {
	f := Fetched{Reference: ref.Name()}
	switch {
	case p == nil:
		f.Digest = evidence.DigestOf(raw)
	case p.Kind == Missing:
		f.Missing = true
	default:
		f.Problem = p
	}
	return f
}
