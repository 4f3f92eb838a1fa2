package main

import "github.com/spf13/cobra"

func auditShow(o *options) *cobra.Command { return &cobra.Command{Use: "show"} }
