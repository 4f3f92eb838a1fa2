// Command smokescreen is stripe/smokescreen as its users run it, built here so
// that it can be measured beside us. Whoever calls has one role: its clients are
// known by certificates otherwise, which no other peer checks here.
package main

import (
	"log"
	"net/http"

	"github.com/sirupsen/logrus"
	"github.com/stripe/smokescreen/cmd"
	"github.com/stripe/smokescreen/pkg/smokescreen"
)

func main() {
	conf, err := cmd.NewConfiguration(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	if conf == nil {
		return // it printed its help
	}
	conf.Log.Formatter = &logrus.JSONFormatter{} // as its own main has it
	conf.RoleFromRequest = func(*http.Request) (string, error) { return "bench", nil }
	smokescreen.StartWithConfig(conf, nil)
}
