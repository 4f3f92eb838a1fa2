package main

import "testing"

// TestTheDemosStoryGoesOn: in every round, as in the beginning, somebody who is connected
// withdraws, stops working and removes the app, and is back before it is their turn again. The
// story once named people who had gone already, so that after two minutes nothing happened.
func TestTheDemosStoryGoesOn(t *testing.T) {
	const rounds = 60
	state := map[int]string{}
	left := map[string]int{}
	broken, deleting := 0, 0
	gone := map[int]int{} // newcomer → the step in which they removed the app
	for step := range rounds * roundSteps {
		h := happens(step)
		if h.who < 0 || h.who >= len(newcomers) {
			t.Fatalf("step %d is about %d", step, h.who)
		}
		switch h.what {
		case comes:
			if state[h.who] == "here" {
				t.Errorf("step %d: %d comes, and is here", step, h.who)
			}
			if state[h.who] == removes && step-gone[h.who] <= deletionSteps {
				t.Errorf("step %d: %d comes while their deletion is open", step, h.who)
			}
			state[h.who] = "here"
		case withdraws, breaks, removes:
			if state[h.who] != "here" {
				t.Errorf("step %d: %s of %d, who is not here but %q", step, h.what, h.who, state[h.who])
			}
			if (h.what == removes) != (h.who%2 == 1) {
				t.Errorf("step %d: %s of %d, who is at the other platform", step, h.what, h.who)
			}
			state[h.who], gone[h.who] = h.what, step
			left[h.what]++
		}
		for who, s := range state {
			if s == breaks {
				broken++
			}
			if since, has := gone[who]; has && s == removes && step-since <= deletionSteps {
				deleting++
			}
		}
	}
	for _, what := range []string{withdraws, breaks, removes} {
		if left[what] != rounds {
			t.Errorf("%s happens %d times in %d rounds", what, left[what], rounds)
		}
	}
	if most := rounds * roundSteps; broken*3 < most*2 || deleting*3 < most*2 {
		t.Errorf("of %d steps somebody has to connect again in %d, and a deletion is open in %d", most, broken, deleting)
	}
}
