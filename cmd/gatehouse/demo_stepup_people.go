package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"
)

// This file gives the demo people who have second factors, so that the console's page
// about step-ups has something to show.

// demoHolders are the app's users with an authenticator app; the last is in the middle
// of a step-up.
var demoHolders = []gatehouse.Subject{"rosa", "tim", "uma"}

// holders sets up second factors as people would, through the steps that their browsers
// take.
func (d *demoApp) holders(ctx context.Context, s *stepup.Stepups) error {
	ask := stepup.Ask{Service: "demo", Reason: "Change the address of the account", ReturnTo: d.self + confirmedPath}
	for _, subject := range demoHolders {
		ask.Subject, ask.Account = subject, string(subject)+"@example.com"
		if err := enrolHolder(ctx, s, ask); errors.Is(err, errHas) {
			return nil // a directory that was kept
		} else if err != nil && ctx.Err() == nil {
			return err
		}
	}
	_, err := s.Begin(ctx, ask)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var errHas = errors.New("this user has a factor already")

// enrolHolder sets up an authenticator app for one user.
func enrolHolder(ctx context.Context, s *stepup.Stepups, ask stepup.Ask) error {
	begun, err := s.Begin(ctx, ask)
	if err != nil {
		return err
	}
	by := stepup.Visitor{ID: begun.ID}
	opened, err := s.Open(ctx, by)
	if err != nil {
		return err
	}
	if opened.Page.Step != stepup.Setup {
		return errHas
	}
	by.Browser = opened.Browser
	app, err := s.BeginTOTP(ctx, by)
	if err != nil {
		return err
	}
	code, err := demoCode(app.Page.Key, time.Now())
	if err != nil {
		return err
	}
	if _, err := s.ConfirmTOTP(ctx, by, code); err != nil {
		return err
	}
	back, err := s.Continue(ctx, by)
	if err != nil {
		return err
	}
	to, err := url.Parse(back.To)
	if err != nil {
		return err
	}
	_, err = s.Redeem(ctx, ask.Service, begun.ID, secret.New(to.Query().Get("code")), ask.Subject)
	return err
}
