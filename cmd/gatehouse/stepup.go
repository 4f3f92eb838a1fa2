package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/outbox"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
)

// This file binds step-ups to the parts.

// openStepup puts the step-ups together. A subject's factors are sealed under the same
// person's key as what the app has sealed for that subject, so that one erasure ends
// both.
func (p *parts) openStepup() error {
	if _, err := connect.NewReturnList(p.cfg.Stepup.Returns); err != nil {
		return fmt.Errorf("stepup.returns: %w", err)
	}
	c := stepup.Config{
		Store: p.db.Stepup(), Log: p.log, PublicURL: p.connect.PublicURL(), Settings: p.stepupSettings, Tell: p.tellStepup,
		Keys: stepup.Keys{
			Person: p.records.PersonOfSubject,
			Ready:  func(ctx context.Context, person gatehouse.PersonID) error { return p.vault.Batch().Ready(ctx, person) },
			Seal: func(ctx context.Context, person gatehouse.PersonID, row, column string, value secret.Text) ([]byte, error) {
				return p.vault.Seal(ctx, stepupRef(person, row, column), value)
			},
			Open: func(ctx context.Context, r audit.Receipt, person gatehouse.PersonID, row, column string, sealed []byte) (secret.Text, error) {
				return p.vault.Open(ctx, r, stepupRef(person, row, column), sealed)
			},
			SealPersonal: p.vault.SealPersonal, OpenPersonal: p.vault.OpenPersonal,
			Seed: func(ctx context.Context, version int) (secret.Text, error) {
				return p.vault.Derive(ctx, "stepup/signing", strconv.Itoa(version))
			},
		},
	}
	if !p.cfg.NoPasskeys() {
		u, err := url.Parse(p.cfg.PublicURL)
		if err != nil {
			return err
		}
		if c.Passkeys, err = factor.NewPasskeys(factor.PasskeyConfig{Origin: u.Scheme + "://" + u.Host, Name: p.cfg.StepupName()}); err != nil {
			return err
		}
	}
	var err error
	p.stepup, err = stepup.New(c)
	return err
}

func stepupRef(person gatehouse.PersonID, row, column string) vault.Ref {
	return vault.Ref{Table: "stepup_factors", Row: row, Column: column, Person: person}
}

// stepupSettings are those of the configuration in force.
func (p *parts) stepupSettings() stepup.Settings { return stepupSettings(p.inForce.Load().cfg) }

func stepupSettings(cfg *config.Config) stepup.Settings {
	c := cfg.Stepup
	// What cannot be read lets nobody back.
	list, _ := connect.NewReturnList(c.Returns)
	s := stepup.Settings{
		Name: cfg.StepupName(), Services: c.Services, Returns: list.Allows, Life: c.Life, KeyVersion: c.SigningKey,
	}
	for _, m := range cfg.StepupMethods() {
		s.Methods = append(s.Methods, stepup.Method(m))
	}
	return s
}

// stepupEvent tells the app about a person's second factors.
type stepupEvent struct {
	Subject gatehouse.Subject `json:"subject"`
	// Service is empty when an operator had it done.
	Service gatehouse.ServiceName `json:"service,omitempty"`
	Method  stepup.Method         `json:"method,omitempty"`
	Cause   string                `json:"cause,omitempty"`
	At      time.Time             `json:"at"`
}

// tellStepup puts an event about a person's factors before the app.
func (p *parts) tellStepup(ctx context.Context, e stepup.Event) error {
	return p.tell(ctx, outbox.Event{ID: e.ID, Type: e.Type, Person: e.Person, Stream: string(e.Person)},
		stepupEvent{Subject: e.Subject, Service: e.Service, Method: e.Method, Cause: e.Cause, At: e.At.UTC().Truncate(time.Second)})
}
