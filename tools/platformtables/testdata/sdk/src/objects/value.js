export default class Value extends AbstractObject {
}
