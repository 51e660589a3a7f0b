// An MCP server in Go's standard library alone, for the differential suite. encoding/json matches keys to fields without regard
// to case, keeps the last of two, and its Decoder takes value after value wherever lines end: what many servers in Go do.
// It takes the batches of revision 2025-03-26 too. It checks nothing: each call that reaches a tool is written down as it was seen.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strconv"
)

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type call struct {
	Name      string    `json:"name"`
	Arguments arguments `json:"arguments"`
}

type arguments struct {
	Tag    *string        `json:"tag"`
	Text   *string        `json:"text"`
	N      *float64       `json:"n"`
	Flag   *bool          `json:"flag"`
	Nested map[string]any `json:"nested"`
}

var tools = []string{"allowed", "denied", "limited"}

// seen gives a value with its leaves as strings, type first.
func seen(value any) any {
	switch value := value.(type) {
	case map[string]any:
		members := map[string]any{}
		for key, member := range value {
			members[key] = seen(member)
		}
		return members
	case []any:
		items := []any{}
		for _, item := range value {
			items = append(items, seen(item))
		}
		return items
	case string:
		return "string:" + value
	case float64:
		return "number:" + strconv.FormatFloat(value, 'g', -1, 64)
	case bool:
		return "boolean:" + strconv.FormatBool(value)
	}
	return "null:"
}

func (asked arguments) seen() map[string]any {
	members := map[string]any{}
	if asked.Tag != nil {
		members["tag"] = seen(*asked.Tag)
	}
	if asked.Text != nil {
		members["text"] = seen(*asked.Text)
	}
	if asked.N != nil {
		members["n"] = seen(*asked.N)
	}
	if asked.Flag != nil {
		members["flag"] = seen(*asked.Flag)
	}
	if asked.Nested != nil {
		members["nested"] = seen(asked.Nested)
	}
	return members
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func answer(id json.RawMessage, member string, value any) {
	if len(id) == 0 {
		return
	}
	message := map[string]any{"jsonrpc": "2.0", "id": id, member: value}
	must(os.Stdout.Write(append(must(json.Marshal(message)), '\n')))
}

func execute(log io.Writer, asked request) {
	var wanted call
	if err := json.Unmarshal(asked.Params, &wanted); err != nil {
		answer(asked.ID, "error", map[string]any{"code": -32602, "message": err.Error()})
		return
	}
	for _, tool := range tools {
		if tool == wanted.Name {
			line := map[string]any{"tool": tool, "arguments": wanted.Arguments.seen()}
			must(log.Write(append(must(json.Marshal(line)), '\n')))
			done := []any{map[string]any{"type": "text", "text": "done"}}
			answer(asked.ID, "result", map[string]any{"content": done})
			return
		}
	}
	answer(asked.ID, "error", map[string]any{"code": -32602, "message": "no such tool"})
}

func list() map[string]any {
	types := map[string]string{"tag": "string", "text": "string", "n": "number", "flag": "boolean", "nested": "object"}
	properties, listed := map[string]any{}, []any{}
	for name, kind := range types {
		properties[name] = map[string]any{"type": kind}
	}
	for _, tool := range tools {
		schema := map[string]any{"type": "object", "properties": properties}
		listed = append(listed, map[string]any{"name": tool, "description": "The tool " + tool, "inputSchema": schema})
	}
	return map[string]any{"tools": listed}
}

func handle(log io.Writer, raw json.RawMessage) {
	if raw[0] == '[' {
		var batch []json.RawMessage
		if json.Unmarshal(raw, &batch) == nil {
			for _, message := range batch {
				handle(log, message)
			}
		}
		return
	}
	var asked request
	if json.Unmarshal(raw, &asked) != nil {
		return
	}
	switch asked.Method {
	case "initialize":
		answer(asked.ID, "result", map[string]any{
			"protocolVersion": "2025-06-18",
			"capabilities":    map[string]any{"tools": map[string]any{}},
			"serverInfo":      map[string]any{"name": "diff-go", "version": "0.1.0"},
		})
	case "ping":
		answer(asked.ID, "result", map[string]any{})
	case "tools/list":
		answer(asked.ID, "result", list())
	case "tools/call":
		execute(log, asked)
	default:
		answer(asked.ID, "error", map[string]any{"code": -32601, "message": "no such method"})
	}
}

func main() {
	log := must(os.OpenFile(os.Getenv("EXECUTED"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644))
	var input io.Reader = os.Stdin
	for {
		decoder := json.NewDecoder(input)
		for {
			var raw json.RawMessage
			err := decoder.Decode(&raw)
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return
			}
			if err != nil {
				break
			}
			handle(log, bytes.TrimSpace(raw))
		}
		// No JSON: go on behind the line, as a server does that wants to live.
		rest := bufio.NewReader(io.MultiReader(decoder.Buffered(), input))
		if _, err := rest.ReadString('\n'); err != nil {
			return
		}
		input = rest
	}
}
