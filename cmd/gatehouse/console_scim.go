package main

import (
	"context"
	"strings"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
)

// scimSource tells the console of identity providers' tokens, and changes them.
type scimSource struct{ *parts }

func (s scimSource) Scim(ctx context.Context) (console.ScimView, error) {
	view := console.ScimView{Enabled: s.cfg.Operators.SCIM.Enabled}
	if view.Enabled {
		view.URL = strings.TrimSuffix(s.cfg.ConsoleURL(), "/") + scim.Prefix + "v2"
	}
	tokens, err := s.scimTokens()
	if err != nil {
		return view, err
	}
	all, err := tokens.List(ctx)
	if err != nil {
		return view, err
	}
	now := time.Now()
	for _, k := range all {
		view.Tokens = append(view.Tokens, console.ScimToken{ID: string(k.ID), State: scimTokenState(k, now), By: k.By, Created: k.Created, Ends: k.Until, Used: k.Used})
	}
	return view, nil
}

func (s scimSource) MakeToken(ctx context.Context, by operator.Actor, life, others time.Duration) (console.NewScimToken, error) {
	span := life
	if span == 0 {
		span = scim.DefaultLife
	}
	target := "a token for " + console.Ahead(span) + ", the others stay"
	if others >= 0 {
		target = "a token for " + console.Ahead(span) + ", the others end after " + console.Ahead(others)
	}
	proposal := operator.Proposal{Act: operator.ActScimToken, Target: target, Digest: operator.Digest(operator.ActScimToken, span.String(), others.String())}
	tokens, err := s.scimTokens()
	if err != nil {
		return console.NewScimToken{}, err
	}
	var made console.NewScimToken
	err = s.operators.Do(ctx, by, proposal, func() error {
		text, k, err := tokens.Create(ctx, by, life, others)
		if err == nil {
			made = console.NewScimToken{ID: string(k.ID), Text: text, Ends: k.Until}
		}
		return err
	})
	return made, err
}

func (s scimSource) RevokeToken(ctx context.Context, by operator.Actor, id string) error {
	if err := s.operators.Authorise(ctx, by, operator.OperatorsChange); err != nil {
		return err
	}
	tokens, err := s.scimTokens()
	if err != nil {
		return err
	}
	return tokens.Revoke(ctx, by, scim.TokenID(id))
}
