package jobrun

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// FromTemplate makes a Job of a template of one container: with an image, a time
// limit, and values for variables that the template has.
func FromTemplate(template []byte, namePrefix, image string, limit time.Duration, env map[string]string) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	if err := yaml.UnmarshalStrict(template, job); err != nil {
		return nil, fmt.Errorf("template of the Job: %w", err)
	}
	if n := len(job.Spec.Template.Spec.Containers); n != 1 {
		return nil, fmt.Errorf("template of the Job: %d containers, want one", n)
	}
	job.GenerateName, job.Name = namePrefix, ""
	deadline := int64(limit / time.Second)
	job.Spec.ActiveDeadlineSeconds = &deadline
	c := &job.Spec.Template.Spec.Containers[0]
	c.Image = image
	set := 0
	for i := range c.Env {
		if v, ok := env[c.Env[i].Name]; ok {
			c.Env[i] = corev1.EnvVar{Name: c.Env[i].Name, Value: v}
			set++
		}
	}
	if set != len(env) {
		return nil, fmt.Errorf("template of the Job: it has %d of the %d variables", set, len(env))
	}
	return job, nil
}
