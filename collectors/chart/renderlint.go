package chart

import (
	"context"

	"helm.sh/helm/v4/pkg/chart/common"
	chartcommon "helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
)

// Helm's linter renders a chart once more, by Helm's own functions, which bound
// nothing. What it gives to templates is known: where they keep to their budget with
// that, they do so in the linter.

// lintInput is what the linter gets.
type lintInput struct {
	user      map[string]any
	namespace string
}

// lintsWithin reports whether Helm's linter will render
// what the budget allows. What draws lots, or ends with an error, is not known to.
func (t *templates) lintsWithin(ctx context.Context, c *chartv2.Chart, in lintInput, caps *common.Capabilities) bool {
	values, err := chartcommon.CoalesceValues(c, copyValue(in.user).(map[string]any))
	if err != nil {
		return false
	}
	lintCaps := common.DefaultCapabilities.Copy()
	lintCaps.KubeVersion, lintCaps.APIVersions = caps.KubeVersion, caps.APIVersions
	top, err := chartcommon.ToRenderValuesWithSchemaValidation(c, values, common.ReleaseOptions{Name: "test-release", Namespace: in.namespace}, lintCaps, true)
	if err != nil {
		return false
	}
	sources, err := inScope(ctx, c, t.sources, top)
	if err != nil {
		return false
	}
	// Nearly always it renders the same: more than a few times that is not waited for.
	// Nothing is rendered after this.
	t.steps, t.bytes = maxSteps-min(4*t.steps+10_000, maxSteps), maxMade-min(4*t.bytes+maxText, maxMade)
	t.present = false
	rec := new(recorder)
	_, err = t.render(sources, rec)
	return err == nil && len(rec.generated) == 0 && len(rec.ordered) == 0
}
