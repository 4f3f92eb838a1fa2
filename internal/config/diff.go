package config

import (
	"reflect"
	"slices"
	"strings"
)

// Diff says in words what changes from one configuration to another, one line
// for each entry, in the order of the structs. A nil configuration has no
// entries. Secrets appear as their references only.
func Diff(from, to *Config) []string {
	a, b := from, to
	if a == nil {
		a = &Config{}
	}
	if b == nil {
		b = &Config{}
	}
	var lines []string
	diffValue(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "", &lines)
	return lines
}

func diffValue(a, b reflect.Value, path string, lines *[]string) {
	switch {
	case hasFields(a.Type()):
		for i := range a.NumField() {
			if name := a.Type().Field(i).Tag.Get("yaml"); name != "" && name != "-" {
				diffValue(a.Field(i), b.Field(i), join(path, name), lines)
			}
		}
	case a.Kind() == reflect.Map:
		diffMap(a, b, path, lines)
	case a.Kind() == reflect.Slice:
		diffList(a, b, path, lines)
	default:
		diffText(shown(a), shown(b), path, lines)
	}
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// shown is the text of a single value, "" when it was left out.
func shown(v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	return flow(v)
}

func diffText(a, b, path string, lines *[]string) {
	switch {
	case a == b:
	case a == "":
		*lines = append(*lines, path+" is set to "+b)
	case b == "":
		*lines = append(*lines, path+" is removed (was "+a+")")
	default:
		*lines = append(*lines, path+" changes from "+a+" to "+b)
	}
}

func diffMap(a, b reflect.Value, path string, lines *[]string) {
	keys := map[string]reflect.Value{}
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			keys[k.String()] = k
		}
	}
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		was, is := a.MapIndex(keys[name]), b.MapIndex(keys[name])
		at := join(path, name)
		switch {
		case !is.IsValid():
			*lines = append(*lines, at+" is removed")
		case !was.IsValid():
			*lines = append(*lines, at+" is added")
			diffValue(reflect.Zero(is.Type()), is, at, lines)
		default:
			diffValue(was, is, at, lines)
		}
	}
}

// diffList compares lists as sets where the order says nothing, which is so for
// every list in the file.
func diffList(a, b reflect.Value, path string, lines *[]string) {
	texts := func(v reflect.Value) []string {
		list := make([]string, v.Len())
		for i := range list {
			list[i] = flow(v.Index(i))
		}
		return list
	}
	was, is := texts(a), texts(b)
	for _, t := range is {
		if !slices.Contains(was, t) {
			*lines = append(*lines, path+" gains "+t)
		}
	}
	for _, t := range was {
		if !slices.Contains(is, t) {
			*lines = append(*lines, path+" loses "+t)
		}
	}
}
